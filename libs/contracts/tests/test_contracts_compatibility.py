"""The compatibility checker: one planted breach, and one allowed change, per rule."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from contracts.compatibility import compare
from contracts.registry import load_vocabulary
from contracts.schemas import document
from pydantic import BaseModel, create_model

Schema = dict[str, Any]


def rules(old: Schema, new: Schema) -> list[tuple[str, str]]:
    return [(found.path, found.rule) for found in compare(old, new)]


def thing(schema: Schema, **more: Any) -> Schema:
    """An object with one required property ``a`` of the given schema."""
    return {"type": "object", "properties": {"a": schema}, "required": ["a"], **more}


TEXT = {"type": "string"}
NULL = {"type": "null"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
OBJECT = {"type": "object"}


def listed(schema: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": schema, **more}


BREACHES = {
    "a type changes": (TEXT, INTEGER, "changed type"),
    "a number must be whole": (NUMBER, INTEGER, "changed type"),
    "anything becomes a type": ({}, TEXT, "changed type"),
    "null is refused": ({"anyOf": [TEXT, NULL]}, TEXT, "removed union member"),
    "a union loses a member": ({"anyOf": [TEXT, INTEGER, NULL]}, {"anyOf": [TEXT, NULL]}, "removed union member"),
    "a list of types loses one": ({"type": ["string", "null"]}, {"type": ["string"]}, "removed union member"),
    "a tagged union loses a member": (
        {"oneOf": [thing({"const": "x"}, title="X"), thing({"const": "y"}, title="Y")]},
        {"oneOf": [thing({"const": "x"}, title="X")]},
        "removed union member",
    ),
    "an enum loses a value": ({"enum": ["x", "y"]}, {"enum": ["x"]}, "narrowed enum"),
    "an enum appears": (TEXT, {**TEXT, "enum": ["x"]}, "narrowed enum"),
    "an enum becomes a constant": ({"enum": ["x", "y"]}, {"const": "x"}, "narrowed enum"),
    "a constant changes": ({"const": "x"}, {"const": "y"}, "narrowed enum"),
    "a constant becomes a boolean that looks the same": ({"const": 1}, {"const": True}, "narrowed enum"),
    "a format appears": (TEXT, {**TEXT, "format": "date"}, "changed format"),
    "a format changes": ({**TEXT, "format": "time"}, {**TEXT, "format": "date"}, "changed format"),
    "a pattern appears": (TEXT, {**TEXT, "pattern": "^a"}, "changed pattern"),
    "a pattern changes": ({**TEXT, "pattern": "^a"}, {**TEXT, "pattern": "^ab?"}, "changed pattern"),
    "a text gets a minimum": (TEXT, {**TEXT, "minLength": 1}, "narrowed constraint"),
    "a text gets a maximum": (TEXT, {**TEXT, "maxLength": 9}, "narrowed constraint"),
    "the maximum of a text falls": ({**TEXT, "maxLength": 9}, {**TEXT, "maxLength": 8}, "narrowed constraint"),
    "a minimum appears": (INTEGER, {**INTEGER, "minimum": 0}, "narrowed constraint"),
    "a minimum rises": ({**INTEGER, "minimum": 0}, {**INTEGER, "minimum": 1}, "narrowed constraint"),
    "a minimum becomes exclusive": ({**NUMBER, "minimum": 0}, {**NUMBER, "exclusiveMinimum": 0}, "narrowed constraint"),
    "a maximum appears": (INTEGER, {**INTEGER, "maximum": 9}, "narrowed constraint"),
    "a maximum falls": ({**INTEGER, "maximum": 9}, {**INTEGER, "maximum": 8}, "narrowed constraint"),
    "a maximum becomes exclusive": ({**NUMBER, "maximum": 9}, {**NUMBER, "exclusiveMaximum": 9}, "narrowed constraint"),
    "steps appear": (INTEGER, {**INTEGER, "multipleOf": 5}, "narrowed constraint"),
    "steps grow": ({**INTEGER, "multipleOf": 5}, {**INTEGER, "multipleOf": 10}, "narrowed constraint"),
    "a list gets a minimum": (listed(TEXT), listed(TEXT, minItems=1), "narrowed constraint"),
    "the maximum of a list falls": (listed(TEXT, maxItems=9), listed(TEXT, maxItems=8), "narrowed constraint"),
    "items must be unique": (listed(TEXT), listed(TEXT, uniqueItems=True), "narrowed constraint"),
    "a map gets a maximum": (OBJECT, {**OBJECT, "maxProperties": 3}, "narrowed constraint"),
    "a map gets a minimum": (OBJECT, {**OBJECT, "minProperties": 1}, "narrowed constraint"),
    "an open object is closed": (OBJECT, {**OBJECT, "additionalProperties": False}, "closed object"),
    "a tuple gets longer": ({"type": "array", "prefixItems": [TEXT]}, {"type": "array", "prefixItems": [TEXT, TEXT]}, "changed type"),
    "a keyword without a rule": (OBJECT, {**OBJECT, "dependentRequired": {"a": ["b"]}}, "unknown keyword"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "rule"), BREACHES.values(), ids=BREACHES)
def test_a_breach_is_found_where_it_is(old: Schema, new: Schema, rule: str) -> None:
    assert rules(thing(old), thing(new)) == [("a", rule)]


@pytest.mark.parametrize(("old", "new", "rule"), BREACHES.values(), ids=BREACHES)
def test_a_breach_is_found_at_the_top_inside_lists_unions_and_definitions(old: Schema, new: Schema, rule: str) -> None:
    assert rules(old, new) == [("", rule)]
    assert rules(thing(listed(old)), thing(listed(new))) == [("a[]", rule)]
    referring = thing({"$ref": "#/$defs/A"})
    assert rules({**referring, "$defs": {"A": old}}, {**referring, "$defs": {"A": new}}) == [("a", rule)]


ALLOWED = {
    "nothing changes": (TEXT, TEXT),
    "a whole number may be broken": (INTEGER, NUMBER),
    "a type becomes anything": (TEXT, {}),
    "null is admitted": (TEXT, {"anyOf": [TEXT, NULL]}),
    "a union gets a member and another order": ({"anyOf": [TEXT, NULL]}, {"anyOf": [NULL, INTEGER, TEXT]}),
    "a member of a union is widened": ({"anyOf": [INTEGER, NULL]}, {"anyOf": [NUMBER, NULL]}),
    "an enum gets a value": ({"enum": ["x"]}, {"enum": ["y", "x"]}),
    "a constant becomes an enum": ({"const": "x"}, {"enum": ["x", "y"]}),
    "an enum becomes free text": ({**TEXT, "enum": ["x"]}, TEXT),
    "a format goes": ({**TEXT, "format": "date"}, TEXT),
    "a pattern goes": ({**TEXT, "pattern": "^a"}, TEXT),
    "the limits of a text widen": ({**TEXT, "minLength": 2, "maxLength": 8}, {**TEXT, "minLength": 1, "maxLength": 9}),
    "limits go": ({**INTEGER, "minimum": 1, "maximum": 9}, INTEGER),
    "limits widen": ({**NUMBER, "exclusiveMinimum": 0, "maximum": 8}, {**NUMBER, "minimum": 0, "maximum": 9}),
    "steps shrink": ({**INTEGER, "multipleOf": 10}, {**INTEGER, "multipleOf": 5}),
    "the limits of a list widen": (listed(TEXT, maxItems=8), listed(TEXT, maxItems=9)),
    "a closed object is opened": ({**OBJECT, "additionalProperties": False}, OBJECT),
    "the values of a map widen": (
        {**OBJECT, "additionalProperties": INTEGER},
        {**OBJECT, "additionalProperties": NUMBER},
    ),
    "only the words change": ({**TEXT, "title": "A", "default": "x"}, {**TEXT, "title": "B", "default": "y"}),
}


@pytest.mark.parametrize(("old", "new"), ALLOWED.values(), ids=ALLOWED)
def test_widening_is_allowed_everywhere(old: Schema, new: Schema) -> None:
    assert rules(old, new) == []
    assert rules(thing(old), thing(new)) == []
    assert rules(thing(listed(old)), thing(listed(new))) == []
    referring = thing({"$ref": "#/$defs/A"})
    assert rules({**referring, "$defs": {"A": old}}, {**referring, "$defs": {"A": new}}) == []


def test_a_removed_property_is_refused_even_when_it_was_optional() -> None:
    old = {"type": "object", "properties": {"a": TEXT, "b": TEXT}}
    assert rules(old, {"type": "object", "properties": {"a": TEXT}}) == [("b", "removed property")]


def test_a_renamed_property_is_one_removed_and_one_new() -> None:
    new = {"type": "object", "properties": {"b": TEXT}, "required": ["b"]}
    assert rules(thing(TEXT), new) == [("a", "removed property"), ("b", "required property")]


def test_a_new_property_is_refused_when_required_and_fine_when_it_has_a_default() -> None:
    properties = {"a": TEXT, "b": TEXT}
    assert rules(thing(TEXT), {**thing(TEXT), "properties": properties, "required": ["a", "b"]}) == [
        ("b", "required property")
    ]
    assert rules(thing(TEXT), {**thing(TEXT), "properties": properties}) == []


def test_an_optional_property_may_not_become_required_but_the_other_way_round() -> None:
    optional = {"type": "object", "properties": {"a": TEXT}}
    assert rules(optional, thing(TEXT)) == [("a", "required property")]
    assert rules(thing(TEXT), optional) == []


def test_the_values_and_names_of_a_map_may_not_narrow() -> None:
    old = {**OBJECT, "additionalProperties": NUMBER}
    assert rules(old, {**OBJECT, "additionalProperties": INTEGER}) == [("{}", "changed type")]
    assert rules(old, {**old, "propertyNames": {"pattern": "^a"}}) == [("{} names", "changed pattern")]


def test_a_map_may_not_become_an_object_whose_properties_it_might_contradict() -> None:
    free = {**OBJECT, "additionalProperties": True}
    assert rules(free, {"type": "object", "properties": {"a": TEXT}}) == [("a", "changed type")]


def test_an_item_of_a_tuple_is_compared_in_its_place() -> None:
    old, new = ({"type": "array", "prefixItems": [TEXT, schema]} for schema in (NUMBER, INTEGER))
    assert rules(old, new) == [("[1]", "changed type")]


def test_a_member_of_a_union_that_narrowed_is_described_and_not_called_removed() -> None:
    old = {"anyOf": [TEXT, NULL]}
    assert rules(old, {"anyOf": [{**TEXT, "maxLength": 3}, NULL]}) == [("", "narrowed constraint")]
    one = {"type": "object", "properties": {"b": TEXT}, "title": "One"}
    before, after = ({**thing(schema), "title": "Other"} for schema in (TEXT, INTEGER))
    assert rules({"anyOf": [one, before]}, {"anyOf": [one, after]}) == [("a", "changed type")]


def test_keywords_beside_a_union_count_for_each_member() -> None:
    union = {"anyOf": [TEXT, NULL]}
    assert rules(union, {**union, "enum": ["x", None]}) == [("", "narrowed enum"), ("", "narrowed enum")]


def test_a_definition_is_followed_under_any_name() -> None:
    old = {**thing({"$ref": "#/$defs/Old"}), "$defs": {"Old": thing(TEXT)}}
    new = {**thing({"$ref": "#/$defs/New"}), "$defs": {"New": thing(TEXT)}}
    assert rules(old, new) == []


def test_definitions_inside_definitions_are_followed() -> None:
    def nested(leaf: Schema) -> Schema:
        return {**thing({"$ref": "#/$defs/A"}), "$defs": {"A": thing({"$ref": "#/$defs/B"}), "B": thing(leaf)}}

    assert rules(nested(TEXT), nested(INTEGER)) == [("a.a.a", "changed type")]


def test_a_definition_that_contains_itself_is_compared_and_ends() -> None:
    def tree(leaf: Schema) -> Schema:
        node = {"type": "object", "properties": {"leaf": leaf, "below": listed({"$ref": "#/$defs/Node"})}}
        return {"$ref": "#/$defs/Node", "$defs": {"Node": node}}

    assert rules(tree(TEXT), tree(TEXT)) == []
    assert ("leaf", "changed type") in rules(tree(TEXT), tree(INTEGER))


@pytest.mark.parametrize(
    ("keyword", "before", "after", "rule"),
    [
        ("x-kind", "event", "command", "changed kind of message"),
        ("x-key", "session_id", "streamer_id", "changed key"),
        ("x-subject", "evt.a.b.{id}.c.v1", "evt.a.{id}.b.c.v1", "changed subject"),
    ],
)
def test_the_kind_the_key_and_the_subject_of_a_message_stay(keyword: str, before: str, after: str, rule: str) -> None:
    assert rules({**OBJECT, keyword: before}, {**OBJECT, keyword: after}) == [("", rule)]


def test_several_breaches_are_all_listed() -> None:
    old = {"type": "object", "properties": {"a": TEXT, "b": TEXT, "c": INTEGER}}
    new = {"type": "object", "properties": {"a": INTEGER, "c": {**INTEGER, "minimum": 1}}}
    assert rules(old, new) == [("a", "changed type"), ("b", "removed property"), ("c", "narrowed constraint")]


def test_a_finding_reads_as_a_sentence() -> None:
    [found] = compare(thing(TEXT), thing(INTEGER))
    assert str(found) == "a: changed type: string became integer"
    [found] = compare(TEXT, INTEGER)
    assert str(found).startswith("the message: ")


def model(**fields: Any) -> Schema:
    return create_model("Model", **fields).model_json_schema()


class Inner(BaseModel):
    size: int


def test_classes_are_compared_through_the_schemas_pydantic_writes() -> None:
    fields: Schema = {
        "a": (str, ...),
        "b": (Literal["x", "y"], "x"),
        "c": (Inner | None, None),
        "d": (tuple[int, ...], ()),
    }
    old = model(**fields)
    assert rules(old, model(**{**fields, "b": (Literal["x", "y", "z"], "x"), "e": (str | None, None)})) == []
    assert rules(old, model(**{**fields, "b": (Literal["x"], "x"), "c": (None, None), "d": (tuple[str, ...], ())})) == [
        ("b", "narrowed enum"),
        ("c", "removed union member"),
        ("d[]", "changed type"),
    ]


@pytest.mark.parametrize("cls", load_vocabulary().all(), ids=lambda cls: cls.message_type)
def test_the_rules_know_every_keyword_of_the_vocabulary_and_find_a_lost_field(cls: type) -> None:
    schema = document(cls)
    reworded = {**schema, "description": "Something else."}
    assert compare(schema, reworded) == []
    rest = {name: value for name, value in schema["properties"].items() if name != cls.key_field}
    assert rules(schema, {**schema, "properties": rest})[0] == (cls.key_field, "removed property")

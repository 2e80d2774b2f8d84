"""Every message of the vocabulary, made from its own schema: written, read, described, and safe to keep for ever."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import pytest
from contracts import schemas, system
from contracts.message import Event, Message, Value
from contracts.registry import load_vocabulary
from contracts.values import Artifact, Filters, Id, Layer, Name, Step
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, TypeAdapter, ValidationError

MESSAGES = load_vocabulary().all()
each_message = pytest.mark.parametrize("cls", MESSAGES, ids=lambda cls: cls.message_type)

text = st.text(st.characters(codec="utf-8"), max_size=30)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=4,
)


def instances(schema: dict[str, Any], defs: dict[str, Any] | None = None) -> st.SearchStrategy[Any]:
    """JSON values that a schema of the vocabulary admits. Knows the keywords the vocabulary uses and fails on any other type."""
    defs = schema.get("$defs", {}) if defs is None else defs
    if "$ref" in schema:
        return instances(defs[schema["$ref"].removeprefix("#/$defs/")], defs)
    if "anyOf" in schema:
        return st.one_of([instances(member, defs) for member in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return {
        None: lambda: anything,
        "null": st.none,
        "boolean": st.booleans,
        "integer": lambda: st.integers(schema.get("minimum", -(2**62)), schema.get("maximum", 2**62)),
        "number": lambda: st.floats(
            schema.get("minimum"), schema.get("maximum"), allow_nan=False, allow_infinity=False
        ),
        "string": lambda: strings(schema),
        "array": lambda: st.lists(instances(schema["items"], defs), max_size=min(3, schema.get("maxItems", 3))),
        "object": lambda: objects(schema, defs),
    }[schema.get("type")]()


def strings(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        return st.from_regex(schema["pattern"].removesuffix("$") + r"\Z", fullmatch=True)
    if schema.get("format") == "time":
        return st.times().map(lambda time: time.isoformat())
    assert "format" not in schema, f"no strategy for {schema['format']}"
    values = st.text(
        st.characters(codec="utf-8"), min_size=schema.get("minLength", 0), max_size=min(30, schema.get("maxLength", 30))
    )
    return values.filter(lambda value: value.strip() != "") if schema.get("minLength") else values


def objects(schema: dict[str, Any], defs: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in schema:
        others = schema.get("additionalProperties", True)
        return st.dictionaries(text, anything if others is True else instances(others, defs), max_size=3)
    fields = {name: instances(below, defs) for name, below in schema["properties"].items()}
    required = {name: fields.pop(name) for name in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional=fields)


@cache
def example(cls: type[Message]) -> Message:
    """One message of a class, the first one Hypothesis thinks of."""
    once = settings(max_examples=1, phases=[Phase.generate], database=None, deadline=None)
    value = find(instances(schemas.document(cls)), lambda _: True, settings=once)
    return cls.model_validate_json(json.dumps(value))


@each_message
def test_what_the_schema_admits_is_read_and_what_is_written_is_read_back(cls: type[Message]) -> None:
    schema = schemas.document(cls)
    validator = Draft202012Validator(schema)

    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(instances(schema))
    def round_trip(value: dict[str, Any]) -> None:
        validator.validate(value)
        message = cls.from_json(json.dumps(value))
        body = message.to_json()
        validator.validate(json.loads(body))
        assert cls.from_json(body).to_json() == body
        if "\\u0000" not in json.dumps(value):  # which no database can hold and to_json replaces
            assert cls.from_json(body) == message
        assert load_vocabulary().decode(cls.full_type(), body) == cls.from_json(body)

    round_trip()


@each_message
def test_a_message_says_when_it_happens(cls: type[Message]) -> None:
    described = cls.__dict__.get("__doc__")
    assert described
    assert described.strip().endswith(".")


@each_message
def test_unknown_fields_of_a_newer_writer_are_ignored(cls: type[Message]) -> None:
    message = example(cls)
    newer = json.dumps({**json.loads(message.to_json()), "field_of_tomorrow": {"a": [1]}})
    assert cls.from_json(newer) == message


@each_message
def test_a_message_cannot_be_changed(cls: type[Message]) -> None:
    message = example(cls)
    with pytest.raises(ValidationError):
        setattr(message, cls.key_field, "other")


@each_message
def test_a_message_without_its_key_is_refused(cls: type[Message]) -> None:
    value = json.loads(example(cls).to_json())
    del value[cls.key_field]
    with pytest.raises(ValidationError):
        cls.from_json(json.dumps(value))


@each_message
def test_a_key_that_cannot_be_part_of_a_subject_is_refused(cls: type[Message]) -> None:
    value = json.loads(example(cls).to_json())
    for key in ("a.b", "a b", "*", ">", "", "x" * 129, "a\n"):
        with pytest.raises(ValidationError):
            cls.from_json(json.dumps({**value, cls.key_field: key}))


@each_message
def test_no_field_hides_what_the_base_class_says_about_a_message(cls: type[Message]) -> None:
    base = Event if issubclass(cls, Event) else Message
    own = {name for name in vars(base) | vars(Message) if not name.startswith("_")}
    assert own & set(cls.model_fields) == set()


SECRETS = ("cookie", "token", "password", "secret", "headers", "private_key", "access_key", "authorization")


def field_names(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(field_names, schema))
    if not isinstance(schema, dict):
        return set()
    return set(schema.get("properties", {})).union(*(field_names(value) for value in schema.values()))


@pytest.mark.parametrize("cls", load_vocabulary().events(), ids=lambda cls: cls.message_type)
def test_no_event_has_a_place_for_a_secret(cls: type[Event]) -> None:
    assert [name for name in field_names(schemas.document(cls)) if any(word in name for word in SECRETS)] == []


def test_unknown_fields_deep_inside_are_ignored_on_read_where_a_person_would_be_refused() -> None:
    body = {"layer_id": "global", "kind": "global", "name": "x", "layer": {"quality": "best", "of_tomorrow": 1}}
    found = load_vocabulary().decode("config.layer.saved.v1", json.dumps(body))
    assert found.model_dump(exclude_none=True)["layer"] == {"quality": "best"}
    with pytest.raises(ValidationError, match="Extra inputs"):
        Layer.model_validate(body["layer"])


def test_unknown_fields_deep_inside_an_old_major_are_ignored_as_well(private_registry: Any) -> None:
    class Kept(Event, type="shop.shelf.kept.v2", key="shelf_id"):
        """A shelf was kept."""

        shelf_id: str
        filters: Filters

    private_registry.upcast("shop.shelf.kept.v1", "shop.shelf.kept.v2")(dict)
    body = b'{"shelf_id": "s", "filters": {"of_tomorrow": 1}}'
    assert private_registry.decode("shop.shelf.kept.v1", body) == Kept(shelf_id="s", filters=Filters())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_json_cannot_write_is_refused(value: float) -> None:
    class Measured(Value):
        seconds: float

    with pytest.raises(ValidationError):
        Measured(seconds=value)


@pytest.mark.parametrize("model", [Layer, Filters, Step], ids=lambda model: model.__name__)
def test_values_a_person_writes_refuse_what_they_do_not_know(model: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        model.model_validate({"id": "a", "processor": "remux", "qualty": "best"})


def test_values_are_compared_by_content_and_can_be_kept_in_sets() -> None:
    one, other = (Artifact(uri="file:///a", media_type="video/mp4", size=1) for _ in range(2))
    assert one == other
    assert len({one, other}) == 1


@pytest.mark.parametrize(("value", "kept"), [("  a  ", "a"), ("x" * 200, "x" * 200)])
def test_a_name_is_kept_without_the_space_around_it(value: str, kept: str) -> None:
    assert TypeAdapter(Name).validate_python(value) == kept


@pytest.mark.parametrize("value", ["", "   ", "x" * 201])
def test_an_empty_or_endless_name_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(value)


def test_an_id_is_refused_with_a_line_break_at_its_end() -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Id).validate_python("abc\n")


def test_a_rejection_carries_its_problem() -> None:
    rejected = system.of("config", system.CommandRejected)
    body = b'{"command_id": "c", "command_type": "config.add_streamer.v1", "problem": {"title": "No", "status": 409}}'
    assert rejected.from_json(body).problem.status == 409

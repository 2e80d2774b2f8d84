"""Whether a new schema of a message still reads everything that was written under the old one.

History is kept for ever, so a class of today reads the events of every day since its type was born: what a schema once admitted it must go on
admitting, and a property that readers rely on must not go away. Widening is allowed: a new optional property, a looser bound, another member of an
enumeration or a union. An older reader ignores an unknown property; a value outside of what it knows it puts into the dead letters, from where it
can be replayed once that reader is upgraded.

Keywords are those of JSON Schema 2020-12 (validation and applicator vocabularies) that pydantic emits; a keyword without a rule here is reported and
never passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

_ANNOTATIONS = frozenset(
    {
        "$schema",
        "$id",
        "$defs",
        "$comment",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "discriminator",
    }
)
_UNIONS = ("anyOf", "oneOf")
_FLOORS = ("minLength", "minItems", "minProperties")
_CEILINGS = ("maxLength", "maxItems", "maxProperties")
_RULED = frozenset(
    {
        *_UNIONS, *_FLOORS, *_CEILINGS, "$ref", "type", "const", "enum", "format", "pattern", "multipleOf", "uniqueItems",
        "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum",
        "properties", "required", "additionalProperties", "propertyNames", "items", "prefixItems", "x-kind", "x-key", "x-subject",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """One reason why a change needs a new major version. ``path`` is where in the data: ``effective.filters.windows[]``; empty for the whole."""

    path: str
    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.path or 'the message'}: {self.rule}: {self.detail}"


def compare(old: Schema, new: Schema) -> list[Incompatibility]:
    """Everything in ``new`` that refuses, or takes away, what ``old`` admitted; empty when the same major version may go on."""
    return list(_Comparison(old, new).differences("", old, new))


class _Comparison:
    """Two documents, each with its own ``$defs``."""

    def __init__(self, old: Schema, new: Schema) -> None:
        self._old, self._new = old, new
        self._under_way: set[tuple[str, str]] = set()

    def differences(self, path: str, old: Schema, new: Schema) -> Iterator[Incompatibility]:
        """Compare two schemas, following references; a recursive pair is compared once."""
        pair = (_canonical(old), _canonical(new))
        if pair in self._under_way:
            return
        self._under_way.add(pair)
        try:
            yield from self._unions(path, _members(self._old, old), _members(self._new, new))
        finally:
            self._under_way.remove(pair)

    def _unions(self, path: str, old: list[Schema], new: list[Schema]) -> Iterator[Incompatibility]:
        if len(old) == len(new) == 1:
            yield from self._single(path, old[0], new[0])
            return
        for member in old:
            yield from self._member(path, member, new)

    def _member(self, path: str, member: Schema, union: list[Schema]) -> Iterator[Incompatibility]:
        """A member is kept when one member of the new union admits all of it."""
        attempts = [list(self._single(path, member, other)) for other in union]
        if not all(attempts):
            return
        akin = [found for found, other in zip(attempts, union, strict=True) if _kind(other) == _kind(member)]
        if len(akin) == 1:
            yield from akin[0]
        else:
            yield Incompatibility(path, "removed union member", _named(member))

    def _single(self, path: str, old: Schema, new: Schema) -> Iterator[Incompatibility]:
        unknown = sorted((set(old) | set(new)) - _RULED - _ANNOTATIONS)
        if unknown:
            yield Incompatibility(path, "unknown keyword", f"there is no rule for {', '.join(unknown)} yet")
        yield from _identity(path, old, new)
        changed = list(_types(path, old, new))
        yield from changed
        if changed:
            return
        yield from _values(path, old, new)
        yield from _texts(path, old, new)
        yield from _numbers(path, old, new)
        yield from _sizes(path, old, new)
        yield from self._objects(path, old, new)
        yield from self._arrays(path, old, new)

    def _objects(self, path: str, old: Schema, new: Schema) -> Iterator[Incompatibility]:
        before, after = old.get("properties", {}), new.get("properties", {})
        required = set(new.get("required", ())) - set(old.get("required", ()))
        for name, schema in before.items():
            below = _below(path, name)
            if name not in after:
                yield Incompatibility(below, "removed property", "removed or renamed; readers still ask for it")
                continue
            if name in required:
                yield Incompatibility(below, "required property", "was optional; messages without it exist")
            yield from self.differences(below, schema, after[name])
        for name in sorted(required - set(before)):
            below = _below(path, name)
            yield Incompatibility(below, "required property", "is new and has no default; messages without it exist")
        if "additionalProperties" in old:
            for name in sorted(set(after) - set(before)):
                below = _below(path, name)
                yield from self.differences(below, _as_schema(old["additionalProperties"]), after[name])
        yield from self._other_properties(path, old, new)

    def _other_properties(self, path: str, old: Schema, new: Schema) -> Iterator[Incompatibility]:
        before, after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        if before is not False and after is False:
            yield Incompatibility(path, "closed object", "unknown properties were admitted")
        elif before is not False and after is not False:
            yield from self.differences(f"{path}{{}}", _as_schema(before), _as_schema(after))
        if "propertyNames" in new:
            yield from self.differences(f"{path}{{}} names", old.get("propertyNames", {}), new["propertyNames"])

    def _arrays(self, path: str, old: Schema, new: Schema) -> Iterator[Incompatibility]:
        before, after = old.get("prefixItems", []), new.get("prefixItems", [])
        if len(before) != len(after):
            yield Incompatibility(path, "changed type", f"a tuple of {len(before)} became one of {len(after)}")
            return
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from self.differences(f"{path}[{index}]", one, other)
        if "items" in new:
            yield from self.differences(f"{path}[]", _as_schema(old.get("items", {})), _as_schema(new["items"]))
        if new.get("uniqueItems") and not old.get("uniqueItems"):
            yield Incompatibility(path, "narrowed constraint", "items must be unique now")


def _members(document: Schema, schema: Schema) -> list[Schema]:
    """The alternatives of a schema, references followed, unions in unions flattened; one for a schema that is no union."""
    if "$ref" in schema:
        target = _resolve(document, schema["$ref"])
        return _members(document, {**target, **{name: value for name, value in schema.items() if name != "$ref"}})
    for union in _UNIONS:
        if union in schema:
            beside = {name: value for name, value in schema.items() if name != union and name not in _ANNOTATIONS}
            return [{**beside, **single} for member in schema[union] for single in _members(document, member)]
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": one} for one in schema["type"]]
    return [schema]


def _resolve(document: Schema, ref: str) -> Schema:
    target: Any = document
    for part in ref.removeprefix("#").strip("/").split("/"):
        target = target[part.replace("~1", "/").replace("~0", "~")]
    return dict(target)


def _as_schema(schema: bool | Schema) -> Schema:
    """The boolean schemas as objects: true admits everything, false nothing."""
    if isinstance(schema, bool):
        return {} if schema else {"enum": []}
    return schema


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _kind(schema: Schema) -> tuple[object, object]:
    """What makes two members of two unions the same one, although changed: the class they come from, else the JSON type."""
    return schema.get("type"), schema.get("title") if schema.get("type") == "object" else None


def _named(schema: Schema) -> str:
    return str(schema.get("title") or schema.get("const") or schema.get("type") or _canonical(schema))


def _identity(path: str, old: Schema, new: Schema) -> Iterator[Incompatibility]:
    for keyword, what in (("x-kind", "kind of message"), ("x-key", "key"), ("x-subject", "subject")):
        if keyword in old and old[keyword] != new.get(keyword):
            yield Incompatibility(path, f"changed {what}", f"{old[keyword]} became {new.get(keyword)}")


def _types(path: str, old: Schema, new: Schema) -> Iterator[Incompatibility]:
    before, after = old.get("type"), new.get("type")
    if after is None or before == after or (before, after) == ("integer", "number"):
        return
    yield Incompatibility(path, "changed type", f"{before or 'anything'} became {after}")


def _values(path: str, old: Schema, new: Schema) -> Iterator[Incompatibility]:
    before, after = _allowed(old), _allowed(new)
    if after is None:
        return
    if before is None:
        yield Incompatibility(path, "narrowed enum", f"only {', '.join(sorted(after))} from now on")
    elif before - after:
        yield Incompatibility(path, "narrowed enum", f"without {', '.join(sorted(before - after))}")


def _allowed(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {_canonical(schema["const"])}
    return {_canonical(value) for value in schema["enum"]} if "enum" in schema else None


def _texts(path: str, old: Schema, new: Schema) -> Iterator[Incompatibility]:
    """Whether one pattern admits all that another admits cannot be told in general, so any other pattern counts as narrower."""
    for keyword, rule in (("format", "changed format"), ("pattern", "changed pattern")):
        if keyword in new and new[keyword] != old.get(keyword):
            yield Incompatibility(path, rule, f"{old.get(keyword, 'any')} became {new[keyword]}")


def _numbers(path: str, old: Schema, new: Schema) -> Iterator[Incompatibility]:
    for inclusive, exclusive, sign in (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)):
        before, after = _bound(old, inclusive, exclusive, sign), _bound(new, inclusive, exclusive, sign)
        if after > before:
            yield Incompatibility(path, "narrowed constraint", f"{inclusive} is {sign * after[0]:g} now")
    step = new.get("multipleOf")
    if step is not None and (old.get("multipleOf") is None or old["multipleOf"] % step):
        yield Incompatibility(path, "narrowed constraint", f"multipleOf is {step} now")


def _bound(schema: Schema, inclusive: str, exclusive: str, sign: int) -> tuple[float, bool]:
    """The strictest bound as (value, whether the value itself is refused), turned so that larger is stricter."""
    bounds = [(float("-inf"), False)]
    bounds += [(sign * schema[inclusive], False)] if inclusive in schema else []
    bounds += [(sign * schema[exclusive], True)] if exclusive in schema else []
    return max(bounds)


def _sizes(path: str, old: Schema, new: Schema) -> Iterator[Incompatibility]:
    for keyword in _FLOORS:
        if new.get(keyword, 0) > old.get(keyword, 0):
            yield Incompatibility(path, "narrowed constraint", f"{keyword} is {new[keyword]} now")
    for keyword in _CEILINGS:
        if new.get(keyword, float("inf")) < old.get(keyword, float("inf")):
            yield Incompatibility(path, "narrowed constraint", f"{keyword} is {new[keyword]} now")

"""JSON Schema snapshots: one file per message type, so that a change of the vocabulary shows in review and an incompatible one is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from contracts import subjects
from contracts.compatibility import Incompatibility, Schema, compare
from contracts.message import Command, Event, Message, Signal
from contracts.registry import Registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"

__all__ = [
    "DIALECT",
    "Incompatibility",
    "Report",
    "check",
    "compare",
    "document",
    "kind",
    "open_objects",
    "rendered",
    "write",
]


@dataclass(slots=True)
class Report:
    """What a folder of snapshots lacks. ``incompatible`` by message type; ``stale`` are file names that an additive change left behind."""

    incompatible: dict[str, list[Incompatibility]] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)


def kind(cls: type[Message]) -> str:
    """``event``, ``command`` or ``signal``."""
    return next(base.__name__.lower() for base in (Event, Command, Signal) if issubclass(cls, base))


def document(cls: type[Message]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a message's body as a reader accepts it, with the kind, the key and the subject of the message."""
    return {
        "$schema": DIALECT,
        "$id": f"/schemas/{cls.message_type}.json",
        **open_objects(cls.model_json_schema(mode="validation")),
        "x-kind": kind(cls),
        "x-key": cls.key_field,
        "x-subject": subjects.template_of(cls.message_type),
    }


def open_objects(schema: Any) -> Any:
    """The schema without ``additionalProperties: false``: values that refuse a person's unknown fields ignore a newer writer's on the bus."""
    if isinstance(schema, list):
        return [open_objects(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: open_objects(value)
        for name, value in schema.items()
        if not (name == "additionalProperties" and value is False)
    }


def rendered(value: Schema) -> str:
    """The text of a generated JSON file: indented, properties in the order of their declaration, a line break at the end."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def check(folder: Path, registry: Registry) -> Report:
    """Compare the classes with the snapshots in ``folder``. Changes nothing."""
    report = Report()
    classes = {cls.message_type: cls for cls in registry.all()}
    for name, cls in classes.items():
        path = _path(folder, name)
        if not path.exists():
            report.stale.append(path.name)
            continue
        text = path.read_text(encoding="utf-8")
        if text == rendered(document(cls)):
            continue
        found = _differences(text, cls)
        if found:
            report.incompatible[name] = found
        else:
            report.stale.append(path.name)
    for name in _snapshots(folder):
        if name not in classes and not registry.reads(name):
            report.incompatible[name] = [_REMOVED]
    return report


def write(folder: Path, registry: Registry, accept: Sequence[str] = ()) -> Report:
    """Bring the snapshots up to date and return what is still wrong: incompatible types are left as they are.

    ``accept`` are type names or shell patterns of types whose readers and history may be broken, because no release has published them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report = check(folder, registry)
    for name in [name for name in report.incompatible if _accepted(name, accept)]:
        del report.incompatible[name]
        report.stale.append(_path(folder, name).name)
    classes = {_path(folder, cls.message_type).name: cls for cls in registry.all()}
    for file in report.stale:
        if file in classes:
            (folder / file).write_text(rendered(document(classes[file])), encoding="utf-8")
        else:
            (folder / file).unlink()
    report.stale.clear()
    return report


_REMOVED = Incompatibility(
    "", "removed type", "no class and no step in the registry reads it any more, but history may hold it"
)


def _differences(text: str, cls: type[Message]) -> list[Incompatibility]:
    try:
        old = json.loads(text)
    except ValueError as error:
        return [Incompatibility("", "unreadable snapshot", str(error))]
    return compare(old, document(cls))


def _path(folder: Path, message_type: str) -> Path:
    return folder / f"{message_type}.json"


def _snapshots(folder: Path) -> Iterable[str]:
    return sorted(path.name.removesuffix(".json") for path in folder.glob("*.json"))


def _accepted(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)

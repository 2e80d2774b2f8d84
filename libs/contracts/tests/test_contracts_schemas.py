"""The snapshots: what is written, when they are stale, and that an incompatible change is not written over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from contracts import schemas
from contracts.message import Event
from contracts.registry import Registry, load_vocabulary
from jsonschema import Draft202012Validator

SOLD = "shop.thing.sold.v1"


def sold(registry: Registry, **fields: Any) -> Registry:
    """A registry with one event of the given fields (type, or (type, default))."""
    annotations = {"thing_id": str, **{name: field[0] if isinstance(field, tuple) else field for name, field in fields.items()}}  # fmt: skip
    defaults = {name: field[1] for name, field in fields.items() if isinstance(field, tuple)}
    cls = type(Event)(
        "Sold", (Event,), {"__annotations__": annotations, "__module__": __name__, "__doc__": "A thing was sold.", **defaults}
    )  # fmt: skip
    cls.message_type, cls.service, cls.aggregate = SOLD, "shop", "thing"
    cls.message_name, cls.major, cls.key_field = "sold", 1, "thing_id"
    registry.add(cls)
    return registry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds the snapshot of the event with a price."""
    assert schemas.write(tmp_path, sold(Registry(), price=int)) == schemas.Report()
    return tmp_path


def snapshot(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{SOLD}.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("cls", load_vocabulary().all(), ids=lambda cls: cls.message_type)
def test_every_schema_is_valid_and_says_what_it_describes(cls: type[Event]) -> None:
    schema = schemas.document(cls)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert schema["$id"] == f"/schemas/{cls.message_type}.json"
    assert schema["x-key"] in schema["required"]
    assert schema["description"]


def test_the_kind_of_a_message_is_told_by_its_base(vocabulary: Registry) -> None:
    assert {schemas.kind(cls) for cls in vocabulary.events()} == {"event"}
    assert {schemas.kind(cls) for cls in vocabulary.commands()} == {"command"}
    assert {schemas.kind(cls) for cls in vocabulary.signals()} == {"signal"}


def test_objects_are_open_on_the_bus_and_maps_keep_the_type_of_their_values() -> None:
    closed = {"type": "object", "additionalProperties": False, "items": [{"additionalProperties": False}]}
    assert schemas.open_objects(closed) == {"type": "object", "items": [{}]}
    kept = {"additionalProperties": {"type": "string"}, "default": [True, None, 1]}
    assert schemas.open_objects(kept) == kept


def test_what_was_written_is_up_to_date(tmp_path: Path, vocabulary: Registry) -> None:
    schemas.write(tmp_path, vocabulary)
    assert schemas.check(tmp_path, vocabulary) == schemas.Report()
    assert {path.name for path in tmp_path.iterdir()} == {f"{cls.message_type}.json" for cls in vocabulary.all()}


def test_writing_twice_changes_nothing(folder: Path) -> None:
    before = (folder / f"{SOLD}.json").read_bytes()
    schemas.write(folder, sold(Registry(), price=int))
    assert (folder / f"{SOLD}.json").read_bytes() == before
    assert before.endswith(b"}\n")


def test_a_new_type_is_stale_until_written(tmp_path: Path) -> None:
    registry = sold(Registry())
    assert schemas.check(tmp_path, registry) == schemas.Report(stale=[f"{SOLD}.json"])
    schemas.write(tmp_path, registry)
    assert schemas.check(tmp_path, registry) == schemas.Report()


def test_checking_writes_nothing(folder: Path, vocabulary: Registry) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    schemas.check(folder, vocabulary)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_an_additive_change_is_stale_and_gets_written(folder: Path) -> None:
    registry = sold(Registry(), price=int, currency=(str, "EUR"))
    assert schemas.check(folder, registry) == schemas.Report(stale=[f"{SOLD}.json"])
    assert schemas.write(folder, registry) == schemas.Report()
    assert "currency" in snapshot(folder)["properties"]


def test_another_layout_of_the_file_is_stale(folder: Path) -> None:
    (folder / f"{SOLD}.json").write_text(json.dumps(snapshot(folder)), encoding="utf-8")
    assert schemas.check(folder, sold(Registry(), price=int)).stale == [f"{SOLD}.json"]


def test_an_incompatible_change_is_reported_and_not_written(folder: Path) -> None:
    registry = sold(Registry(), price=str)
    for report in (schemas.check(folder, registry), schemas.write(folder, registry)):
        assert [(found.path, found.rule) for found in report.incompatible[SOLD]] == [("price", "changed type")]
        assert report.stale == []
    assert snapshot(folder)["properties"]["price"]["type"] == "integer"


@pytest.mark.parametrize("pattern", [SOLD, "shop.*", "*.sold.v1"])
def test_an_incompatible_change_is_written_when_its_type_is_named(folder: Path, pattern: str) -> None:
    assert schemas.write(folder, sold(Registry(), price=str), accept=[pattern]) == schemas.Report()
    assert snapshot(folder)["properties"]["price"]["type"] == "string"


def test_naming_another_type_does_not_help(folder: Path) -> None:
    assert SOLD in schemas.write(folder, sold(Registry(), price=str), accept=["shop.thing.bought.v1"]).incompatible


def test_a_type_that_nothing_reads_any_more_is_incompatible_until_accepted(folder: Path) -> None:
    assert [found.rule for found in schemas.write(folder, Registry()).incompatible[SOLD]] == ["removed type"]
    assert snapshot(folder)
    assert schemas.write(folder, Registry(), accept=[SOLD]) == schemas.Report()
    assert list(folder.iterdir()) == []


def test_a_type_that_a_step_still_reads_keeps_its_snapshot(folder: Path) -> None:
    successor = sold(Registry())
    successor.upcast("shop.thing.old.v1", SOLD)(dict)
    (folder / "shop.thing.old.v1.json").write_text("{}\n", encoding="utf-8")
    schemas.write(folder, successor, accept=[SOLD])
    assert schemas.check(folder, successor) == schemas.Report()
    assert (folder / "shop.thing.old.v1.json").exists()


def test_a_snapshot_that_cannot_be_read_proves_nothing_and_is_not_replaced(folder: Path) -> None:
    (folder / f"{SOLD}.json").write_text('{"properties": ', encoding="utf-8")
    report = schemas.write(folder, sold(Registry(), price=int))
    assert [found.rule for found in report.incompatible[SOLD]] == ["unreadable snapshot"]

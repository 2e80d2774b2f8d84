"""Named statements in files."""

from __future__ import annotations

from pathlib import Path

import pytest
from chassis import deadletters, eventlog, leases
from chassis.sql import Queries, beside


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "queries.sql"
    path.write_text(text, encoding="utf-8")
    return path


def test_blocks_are_found_by_name(tmp_path: Path) -> None:
    queries = Queries(
        written(tmp_path, "-- what this is\n\n-- name: one\nselect 1\n-- a comment\n\n-- name: two_2\nselect\n  2\n")
    )
    assert dict(queries) == {"one": "select 1\n-- a comment", "two_2": "select\n  2"}
    assert (len(queries), list(queries)) == (2, ["one", "two_2"])
    with pytest.raises(KeyError):
        queries["three"]


def test_a_statement_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="before the first"):
        Queries(written(tmp_path, "select 1\n-- name: one\nselect 1"))


def test_a_name_used_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="twice"):
        Queries(written(tmp_path, "-- name: one\nselect 1\n-- name: one\nselect 2"))


def test_queries_lie_beside_their_module(tmp_path: Path) -> None:
    written(tmp_path, "-- name: one\nselect 1")
    assert beside(str(tmp_path / "store.py"))["one"] == "select 1"


@pytest.mark.parametrize("module", [eventlog, leases, deadletters])
def test_every_query_of_the_chassis_is_used(module) -> None:
    sources = "".join(path.read_text() for path in Path(eventlog.__file__).parent.glob("*.py"))
    for name in module.QUERIES:
        assert f'QUERIES["{name}"]' in sources, f"{name} is dead"

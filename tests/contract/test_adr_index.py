"""The decision records are complete, name files that exist, and their index is up to date."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHOLE = """---
status: accepted
date: 2026-01-02
---

# 0001: Keep it simple

## Context

Why.

## Decision

What.

## Consequences

So.

## Alternatives considered

Or.

## In the code

`docs/adr/index.py`
"""


@pytest.fixture(scope="module")
def adr() -> ModuleType:
    spec = importlib.util.spec_from_file_location("adr_index", ROOT / "docs/adr/index.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["adr_index"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def folder_with(folder: Path, adr: ModuleType, text: str, name: str = "0001-keep-it-simple.md") -> list[str]:
    (folder / name).write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(adr.render(adr.records(folder)), encoding="utf-8")
    return list(adr.problems(folder, ROOT))


def test_this_checkout_has_nothing_wrong(adr: ModuleType):
    assert adr.problems() == []
    assert len(adr.records()) >= 10


def test_a_whole_record_passes_and_is_listed(adr: ModuleType, tmp_path: Path):
    assert folder_with(tmp_path, adr, WHOLE) == []
    index = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| 0001 | [Keep it simple](0001-keep-it-simple.md) | accepted | 2026-01-02 |" in index


def test_a_stale_or_missing_index_is_found(adr: ModuleType, tmp_path: Path):
    folder_with(tmp_path, adr, WHOLE)
    (tmp_path / "0002-more.md").write_text(WHOLE.replace("0001", "0002"), encoding="utf-8")
    assert ["stale" in problem for problem in adr.problems(tmp_path, ROOT)] == [True]
    (tmp_path / "README.md").unlink()
    assert ["stale" in problem for problem in adr.problems(tmp_path, ROOT)] == [True]


@pytest.mark.parametrize("section", ["Context", "Decision", "Consequences", "Alternatives considered", "In the code"])
def test_a_missing_and_an_empty_section_are_found(adr: ModuleType, tmp_path: Path, section: str):
    missing = folder_with(tmp_path, adr, WHOLE.replace(f"## {section}\n", ""))
    assert any(f"'{section}' is missing" in problem for problem in missing)
    before, _, after = WHOLE.partition(f"## {section}\n")
    empty = folder_with(
        tmp_path, adr, f"{before}## {section}\n\n{after[after.find('## ') :] if '## ' in after else ''}"
    )
    assert any(f"'{section}' is missing" in problem for problem in empty)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("status: accepted", "status: perhaps", "status"),
        ("date: 2026-01-02\n", "", "date"),
        ("# 0001:", "# 0007:", "named"),
        ("docs/adr/index.py", "docs/adr/nothing.py", "docs/adr/nothing.py does not exist"),
        ("`docs/adr/index.py`", "everywhere", "names no file"),
    ],
)
def test_what_else_can_be_wrong_is_found(adr: ModuleType, tmp_path: Path, old: str, new: str, problem: str):
    assert any(problem in found for found in folder_with(tmp_path, adr, WHOLE.replace(old, new)))


def test_a_number_that_is_taken_twice_is_found(adr: ModuleType, tmp_path: Path):
    folder_with(tmp_path, adr, WHOLE)
    found = folder_with(tmp_path, adr, WHOLE, "0001-again.md")
    assert any("taken twice" in problem for problem in found)

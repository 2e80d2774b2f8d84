"""Writes the index of the decision records, and says what is wrong with them.

``python docs/adr/index.py`` writes ``README.md``; ``--check`` changes nothing and fails when it is stale or a record is incomplete.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
INDEX = "README.md"
SECTIONS = ("Context", "Decision", "Consequences", "Alternatives considered", "In the code")
STATUSES = ("proposed", "accepted", "rejected", "deprecated", "superseded")
_NAME = re.compile(r"(?P<number>\d{4})-[a-z0-9-]+\.md")
_FRONT = re.compile(r"\A---\n(?P<fields>.*?)\n---\n", re.DOTALL)
_TITLE = re.compile(r"^# (?P<number>\d{4}): (?P<title>.+)$", re.MULTILINE)
_SECTION = re.compile(r"^## (?P<name>.+)$", re.MULTILINE)
_PATH = re.compile(r"`(?P<path>[a-z_]+(?:/[A-Za-z0-9_.-]+)+)`")

_HEAD = """\
# Architecture decision records

Each record says what was decided, why, what follows from it and what else was considered, in the form of
[MADR](https://adr.github.io/madr/). A decision that no longer holds is superseded by a new record and not rewritten.

Figures were measured before the decisions, with prototypes, on two cores and loopback (nats-server 2.15, nats-py 2.16, FastStream 0.7.8,
asyncpg 0.32): read them as ratios. `make bench` measures the system as it is.

This page is written by `python docs/adr/index.py`.

| | decision | status | date |
| --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Record:
    """One decision record as read from its file."""

    path: Path
    number: str
    title: str
    fields: dict[str, str]
    sections: dict[str, str]


def records(folder: Path = FOLDER) -> list[Record]:
    """Every record of a folder, by number."""
    return [_read(path) for path in sorted(folder.glob("*.md")) if path.name != INDEX]


def render(found: Sequence[Record]) -> str:
    """The text of the index."""
    rows = [
        f"| {one.number} | [{one.title}]({one.path.name}) | {one.fields.get('status', '')} | {one.fields.get('date', '')} |\n"
        for one in found
    ]
    return _HEAD + "".join(rows)


def problems(folder: Path = FOLDER, root: Path | None = None) -> list[str]:
    """What is wrong with a folder of records, in words; paths in ``In the code`` are looked up below ``root``."""
    found = records(folder)
    wrong = [f"{one.path.name}: {text}" for one in found for text in _problems(one, root or folder.parents[1])]
    numbers = [one.number for one in found]
    if len(set(numbers)) != len(numbers):
        # Holes are fine: several people write records at a time, and not every draft stays.
        wrong.append(f"a number is taken twice: {', '.join(numbers)}")
    index = folder / INDEX
    if not index.exists() or index.read_text(encoding="utf-8") != render(found):
        wrong.append(f"{INDEX} is stale: run python docs/adr/index.py")
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the index; the exit status is 1 when something is wrong."""
    parser = argparse.ArgumentParser(description="Write the index of the decision records, or check it.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail when the index is stale or a record incomplete"
    )
    if not parser.parse_args(arguments).check:
        (FOLDER / INDEX).write_text(render(records()), encoding="utf-8")
    wrong = problems()
    sys.stdout.writelines(f"{line}\n" for line in wrong)
    return 1 if wrong else 0


def _read(path: Path) -> Record:
    text = path.read_text(encoding="utf-8")
    front, title = _FRONT.match(text), _TITLE.search(text)
    lines = front["fields"].splitlines() if front else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    parts = _SECTION.split(text)
    sections = {name.strip(): body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    return Record(path, title["number"] if title else "", title["title"] if title else "", fields, sections)


def _problems(one: Record, root: Path) -> list[str]:
    name = _NAME.fullmatch(one.path.name)
    wrong = []
    if name is None or name["number"] != one.number:
        wrong.append("the file is not named NNNN-title.md with the number of its heading '# NNNN: Title'")
    if one.fields.get("status", "").split(" ")[0] not in STATUSES:
        wrong.append(f"the status is none of {', '.join(STATUSES)}")
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", one.fields.get("date", "")):
        wrong.append("there is no date")
    wrong += [f"the section '{section}' is missing or empty" for section in SECTIONS if not one.sections.get(section)]
    paths = [match["path"] for match in _PATH.finditer(one.sections.get("In the code", ""))]
    if not paths:
        wrong.append("'In the code' names no file")
    return wrong + [f"{path} does not exist" for path in paths if not (root / path).is_file()]


if __name__ == "__main__":
    sys.exit(main())

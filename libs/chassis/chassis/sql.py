"""SQL lives in ``queries.sql`` files, in blocks that begin with a line ``-- name: <name>``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_NAME = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)\s*$", re.MULTILINE)


class Queries(Mapping[str, str]):
    """The named statements of one file. Raises ValueError on a text outside any block or a name used twice."""

    def __init__(self, path: Path) -> None:
        self._statements = dict(_blocks(path.read_text(encoding="utf-8"), path))

    def __getitem__(self, name: str) -> str:
        return self._statements[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def beside(module_file: str, name: str = "queries.sql") -> Queries:
    """The queries in the folder of a module: ``QUERIES = beside(__file__)``."""
    return Queries(Path(module_file).with_name(name))


def _blocks(text: str, path: Path) -> list[tuple[str, str]]:
    parts = _NAME.split(text)
    if any(line.strip() and not line.startswith("--") for line in parts[0].splitlines()):
        raise ValueError(f"{path}: SQL before the first '-- name:' line")
    names = parts[1::2]
    if len(names) != len(set(names)):
        raise ValueError(f"{path}: a name is used twice")
    return [(name, body.strip()) for name, body in zip(names, parts[2::2], strict=True)]

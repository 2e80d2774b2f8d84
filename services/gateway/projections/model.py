"""What a read model is: rows folded from events, loaded and saved a batch at a time.

Each row is folded from one stream and from nothing else. Streams are applied in the order of their versions, so a row does not depend on how
the streams of different services interleave: a gap that is healed later, or a rebuild, ends with the same rows. What belongs together but comes
from different streams is joined when it is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from chassis.database import Connection
from chassis.sql import Queries
from contracts.message import Event

from services.gateway.store.events import StoredEvent

_TABLE = re.compile(r"^create table rm_(?P<name>\w+) \((?P<body>.*?)^\);", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(r"^  (?!primary key|unique|check)([a-z_]+) ", re.MULTILINE)

Row = dict[str, Any]
LIVE, BUILT = "rm_", "rb_"
"""Tables of read models begin with the one; a rebuild works on tables that begin with the other and renames them at its end."""


class ReadModel(Protocol):
    """One read model. ``VERSION`` grows when its tables or their meaning change; it is then rebuilt before it is used."""

    @property
    def name(self) -> str:
        """How people call it."""

    @property
    def version(self) -> int:
        """The version of its code."""

    @property
    def handles(self) -> tuple[type[Event], ...]:
        """The events it is made of."""

    async def apply(self, batch: Sequence[StoredEvent], connection: Connection, prefix: str = LIVE) -> None:
        """Bring its tables up to date with a batch."""

    async def create(self, connection: Connection, prefix: str = LIVE) -> None:
        """Create its empty tables."""

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of its tables without prefix."""


@dataclass(frozen=True)
class Change:
    """An event about to be folded into a row."""

    event: Event
    version: int
    time: str
    """When it happened, RFC 3339 in UTC. Rows take times from here and never from a clock."""
    position: int


@dataclass(frozen=True)
class Table:
    """One table of a read model. ``evolve(row, change)`` returns the row after the event, ``None`` for no row; it gets ``None`` where none was.

    ``keys(event)`` names the rows an event concerns: tuples as long as ``key``, the columns of the primary key.
    """

    name: str
    key: tuple[str, ...]
    keys: Callable[[Event], Iterable[tuple[Any, ...]]]
    evolve: Callable[[Row | None, Change], Row | None]


def own_key(*classes: type[Event]) -> Callable[[Event], Iterable[tuple[Any, ...]]]:
    """Keys of a table with one row per aggregate: the aggregate's id, for events of these classes."""
    return lambda event: [(event.key,)] if isinstance(event, classes) else []


@dataclass(frozen=True)
class Folded:
    """A read model made of tables whose rows are folded. Its tables are declared in the ``.sql`` file of the same name."""

    name: str
    version: int
    handles: tuple[type[Event], ...]
    folds: tuple[Table, ...]

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of its tables without prefix."""
        return tuple(table.name for table in self.folds)

    @cached_property
    def declaration(self) -> str:
        """The SQL that creates its tables."""
        return Queries(Path(__file__).with_name(f"{self.name}.sql"))["tables"]

    @cached_property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """The columns of each table, as its declaration spells them."""
        found = {match["name"]: _COLUMN.findall(match["body"]) for match in _TABLE.finditer(self.declaration)}
        return {name: tuple(names) for name, names in found.items()}

    async def create(self, connection: Connection, prefix: str = LIVE) -> None:
        """Create its empty tables."""
        await connection.execute(self.declaration.replace(LIVE, prefix))

    async def apply(self, batch: Sequence[StoredEvent], connection: Connection, prefix: str = LIVE) -> None:
        """One read and at most two writes per table, whatever the size of the batch."""
        changes = [
            Change(stored.event, stored.version, stored.time.isoformat(), stored.position)
            for stored in batch
            if isinstance(stored.event, self.handles)
        ]
        for table in self.folds if changes else ():
            await _fold(table, changes, connection, f"{prefix}{table.name}", self.columns[table.name])


async def _fold(
    table: Table, changes: Sequence[Change], connection: Connection, name: str, columns: Sequence[str]
) -> None:
    touched = [(change, key) for change in changes for key in table.keys(change.event)]
    if not touched:
        return
    wanted = list(dict.fromkeys(key for _, key in touched))
    rows = await _load(table, wanted, connection, name)
    before = dict(rows)
    for change, key in touched:
        after = table.evolve(rows.get(key), change)
        if after is None:
            rows.pop(key, None)
        else:
            rows[key] = after
    gone = [key for key in before if key not in rows]
    changed = [row for key, row in rows.items() if row is not before.get(key)]
    if gone:
        await connection.execute(
            _statement("delete from {name} t using {keys} k where {match}", table, name), _json(gone, table)
        )
    if changed:
        # Events may have fields that this table does not show; a column without a value would be a defect of the fold.
        shown = [{column: row[column] for column in columns} for row in changed]
        await connection.execute(_upsert(table, name, columns), json.dumps(shown))


async def _load(
    table: Table, keys: Sequence[tuple[Any, ...]], connection: Connection, name: str
) -> dict[tuple[Any, ...], Row]:
    statement = _statement("select to_jsonb(t) as row from {name} t join {keys} k on {match}", table, name)
    found = await connection.fetch(statement, _json(keys, table))
    return {tuple(record["row"][column] for column in table.key): record["row"] for record in found}


def _statement(shape: str, table: Table, name: str) -> str:
    # Only names from the declarations above are put together here, never a value.
    match = " and ".join(f"t.{column} = k.{column}" for column in table.key)
    return shape.format(name=name, keys=f"jsonb_populate_recordset(null::{name}, $1::jsonb)", match=match)


def _upsert(table: Table, name: str, columns: Sequence[str]) -> str:
    listed = ", ".join(columns)
    values = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in table.key)
    return (
        f"insert into {name} ({listed}) select {listed} from jsonb_populate_recordset(null::{name}, $1::jsonb)"  # noqa: S608
        f" on conflict ({', '.join(table.key)}) do update set {values}"
    )


def _json(keys: Sequence[tuple[Any, ...]], table: Table) -> str:
    return json.dumps([dict(zip(table.key, key, strict=True)) for key in keys])

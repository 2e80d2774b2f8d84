"""Numbered SQL files, each applied once per schema, in order, in one transaction, by one replica at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path

from chassis.database import Pool

CHASSIS = Path(__file__).with_name("migrations")
_LOCK = 0x41495243
_LONGEST_S = 3600.0
"""An index on a large log takes longer than a query of a running service may."""


class MigrationChanged(RuntimeError):
    """A file that was applied has another content now. Migrations are history: write a new one."""


async def migrate(pool: Pool, *folders: Path) -> list[str]:
    """Apply what is missing from each folder and return the names applied; raises :class:`MigrationChanged`."""
    applied: list[str] = []
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "select pg_advisory_xact_lock($1, hashtext(current_schema()))", _LOCK, timeout=_LONGEST_S
        )
        await connection.execute(
            "create table if not exists migrations (name text primary key, sha256 text not null, applied_at timestamptz default now())"
        )
        known = {row["name"]: row["sha256"] for row in await connection.fetch("select name, sha256 from migrations")}
        for name, path in _files(folders):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if known.get(name, digest) != digest:
                raise MigrationChanged(f"{name} was changed after it had been applied; put the change into a new file")
            if name not in known:
                await connection.execute(path.read_text(encoding="utf-8"), timeout=_LONGEST_S)
                await connection.execute("insert into migrations (name, sha256) values ($1, $2)", name, digest)
                applied.append(name)
    return applied


async def pending(pool: Pool, *folders: Path) -> list[str]:
    """Names of files not applied yet: readiness is refused while there are any."""
    if await pool.fetchval("select to_regclass('migrations')") is None:
        return [name for name, _ in _files(folders)]
    known = {row["name"] for row in await pool.fetch("select name from migrations")}
    return [name for name, _ in _files(folders) if name not in known]


def _files(folders: tuple[Path, ...]) -> list[tuple[str, Path]]:
    return [
        (f"{folder.parent.name}/{path.stem}", path)
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix == ".sql" and path.name[0].isdigit()
    ]

"""Read models are disposable: they are created empty, rebuilt from the store beside the old tables, and swapped in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from chassis.database import Connection, Pool, end_session

from services.gateway import metrics
from services.gateway.projections import MODELS
from services.gateway.projections.model import BUILT, LIVE, ReadModel
from services.gateway.store import events
from services.gateway.store.events import QUERIES

PAGE = 5_000
log = structlog.get_logger(__name__)


class UnknownProjection(LookupError):
    """There is no read model of that name."""


class RebuildRunning(RuntimeError):
    """Somebody is rebuilding this read model already."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The outcome of a rebuild: what was built, up to where, from how many events."""

    name: str
    version: int
    position: int
    events: int


async def ensure(pool: Pool, models: Sequence[ReadModel] = MODELS) -> None:
    """Create the tables of read models that have none, so that they can be queried. What has history to catch up on is marked for a rebuild."""
    async with pool.acquire() as connection, connection.transaction():
        head = await events.lock_head(connection)
        known = {row["name"] for row in await connection.fetch(QUERIES["projections"])}
        for model in models:
            if model.name not in known:
                await model.create(connection)
                await connection.execute(QUERIES["projection_built"], model.name, model.version, head)
                if head:
                    await connection.execute(QUERIES["projection_failed"], model.name, "not built yet")


async def outdated(pool: Pool, models: Sequence[ReadModel] = MODELS) -> list[str]:
    """The read models to rebuild: built by an older release, failed, or never built."""
    rows = {row["name"]: row for row in await pool.fetch(QUERIES["projections"])}
    return [
        model.name
        for model in models
        if rows[model.name]["version"] < model.version or rows[model.name]["state"] != "current"
    ]


async def rebuild(pool: Pool, name: str, models: Sequence[ReadModel] = MODELS) -> Rebuilt:
    """Build a read model anew from the whole store while the old one goes on being used, then swap.

    Raises :class:`UnknownProjection`, or :class:`RebuildRunning` when somebody is at it already.
    """
    model = next((model for model in models if model.name == name), None)
    if model is None:
        raise UnknownProjection(name)
    async with pool.acquire() as connection:
        try:
            if not await connection.fetchval(QUERIES["lock_rebuild"], name):
                raise RebuildRunning(name)
            built = await _build(connection, model)
        finally:
            await end_session(connection)
    metrics.FAILED.labels(name).set(0)
    log.info("projection.rebuilt", name=name, version=model.version, position=built.position, events=built.events)
    return built


async def _build(connection: Any, model: ReadModel) -> Rebuilt:
    async with connection.transaction():
        await _drop(connection, model, BUILT)
        await model.create(connection, BUILT)
    position = count = 0
    while (head := await events.head(connection)) - position > PAGE:
        async with connection.transaction():
            count += await _copy(connection, model, position, position + PAGE)
        position += PAGE
    async with connection.transaction():
        # The projector waits here, so nothing is appended between the last page and the swap.
        head = await events.lock_head(connection)
        while position < head:
            last = min(position + PAGE, head)
            count += await _copy(connection, model, position, last)
            position = last
        await _drop(connection, model, LIVE)
        for table in model.tables:
            await connection.execute(f"alter table {BUILT}{table} rename to {LIVE}{table}")
        await connection.execute(QUERIES["projection_built"], model.name, model.version, head)
    return Rebuilt(model.name, model.version, head, count)


async def _copy(connection: Connection, model: ReadModel, first: int, last: int) -> int:
    services = sorted({cls.service for cls in model.handles})
    page = await events.in_order_of_application(connection, services, first, last)
    await model.apply(page, connection, BUILT)
    return len(page)


async def _drop(connection: Connection, model: ReadModel, prefix: str) -> None:
    for table in model.tables:
        await connection.execute(f"drop table if exists {prefix}{table}")

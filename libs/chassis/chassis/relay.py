"""Outbox → JetStream: in order, nothing skipped, one active relay per service.

While the server stores a batch, the next one is read, and sent but for the last message, which commits it: that one waits until the batch
before is acknowledged, so that nothing is stored after a failure. A duplicate id rejects a whole batch (error 10201); that batch is then sent one
at a time, where duplicates are acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import structlog
from contracts import streams

from chassis import telemetry
from chassis.batches import (
    DUPLICATE,
    NOT_ENABLED,
    BatchRejected,
    Outgoing,
    PublishFailed,
    publish_atomic,
    publish_one_by_one,
    stage,
)
from chassis.bus import Bus
from chassis.database import UNREACHABLE, Pool, end_session
from chassis.eventlog import QUERIES
from chassis.waiting import wait_for_event

BATCH = 1000
BATCH_BYTES = 16 << 20
_LOCK = 0x52454C59
_LOCK_WAIT_S = 20.0
"""A replica that may not send yet gives its connection back now and then."""

_EXPECTED: tuple[type[BaseException], ...] = (PublishFailed, *UNREACHABLE)

log = structlog.get_logger(__name__)


class Relay:
    """Drains the outbox of one service. Every replica has one; a session-level advisory lock lets one work at a time."""

    def __init__(
        self, pool: Pool, bus: Bus, service: str, *, poll_s: float = 5.0, batch: int = BATCH, atomic: bool = True
    ) -> None:
        self.pool, self.bus, self.service = pool, bus, service
        self.poll_s, self.batch, self.atomic = poll_s, batch, atomic
        self.failures = 0
        """Attempts in a row that did not empty the outbox."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def wake(self) -> None:
        """Something was committed."""
        self._wake.set()

    async def start(self) -> None:
        """Begin to drain; what an earlier process left behind goes first."""
        self._wake.set()
        self._task = asyncio.create_task(self._run(), name=f"relay-{self.service}")

    async def stop(self, timeout_s: float = 5.0) -> None:
        """Send what is committed, then stop. What does not go out in time stays for the next start."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            stopping = self._stopping
            try:
                await self._drain_if_waiting()
                self.failures = 0
            except Exception as error:
                # Whatever it is: a relay that ended would leave its service mute with nobody noticing.
                self.failures += 1
                log.warning("relay.stopped_at_failure", error=repr(error)[:300], failures=self.failures,
                            exc_info=not isinstance(error, _EXPECTED))  # fmt: skip
            if stopping:
                return
            delay = self.poll_s if not self.failures else min(0.1 * 2.0**self.failures, 5.0)
            await wait_for_event(self._wake, delay)

    async def _drain_if_waiting(self) -> None:
        self._wake.clear()
        async with self.pool.acquire() as connection:
            if not await connection.fetchval(QUERIES["outbox_waiting"]):
                return
            try:
                # Held only while draining: whoever commits next waits here and drains what the holder no longer saw.
                await connection.execute(
                    "select pg_advisory_lock($1, hashtext(current_schema()))", _LOCK, timeout=_LOCK_WAIT_S
                )
                await self._drain(connection)
            finally:
                await end_session(connection)

    async def _drain(self, connection: Any) -> None:
        outbox, failure = _Outbox(connection, self.batch), None
        try:
            await self._send_all(outbox)
        except Exception as error:
            failure = error
        finally:
            # Also when cancelled: the connection serves one at a time.
            await outbox.at_rest()
        await outbox.delete_sent()
        if failure is not None:
            raise failure

    async def _send_all(self, outbox: _Outbox) -> None:
        """Send part after part in their order; the database and the next part are worked on while the bus stores the one before."""
        vouched: set[str] = set()
        part, staged = await outbox.next_part(), ""
        while part:
            outbox.ensure_held()
            following = asyncio.create_task(self._look_ahead(outbox, vouched))
            try:
                await self._send(part, staged, outbox, vouched)
                part, staged = await following
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _look_ahead(self, outbox: _Outbox, vouched: set[str]) -> tuple[list[Outgoing], str]:
        """The next part, and the id under which the server has all of it but the commit, if it has."""
        part = await outbox.next_part()
        if len(part) < 2 or streams.stream_of(part[0].subject) not in vouched:
            return part, ""
        try:
            return part, await stage(self.bus, part)
        except PublishFailed:
            # Begun anew when it is its turn: a failure belongs behind what goes before.
            return part, ""

    async def _send(self, part: list[Outgoing], staged: str, outbox: _Outbox, vouched: set[str]) -> None:
        """Publish a part, or raise why it was not all of it. ``vouched``: the streams that have taken a batch in this drain."""
        started = time.perf_counter()
        sent = await self._publish(part, staged, vouched)
        outbox.sent += [one.id for one in part[:sent]]
        telemetry.RELAYED.labels(self.service).inc(sent)
        telemetry.RELAY_BATCH.labels(self.service).observe(sent)
        telemetry.RELAY_SECONDS.labels(self.service).observe(time.perf_counter() - started)
        if sent < len(part):
            raise PublishFailed(f"{len(part) - sent} of {len(part)} messages did not go out")

    async def _publish(self, part: list[Outgoing], staged: str, vouched: set[str]) -> int:
        if not self.atomic or len(part) == 1:
            return await publish_one_by_one(self.bus, part)
        stream = streams.stream_of(part[0].subject)
        try:
            await publish_atomic(self.bus, part, staged=staged)
        except BatchRejected as refusal:
            vouched.discard(stream)
            if refusal.code not in (DUPLICATE, NOT_ENABLED):
                raise
            log.info("relay.one_by_one", code=refusal.code, messages=len(part))
            return await publish_one_by_one(self.bus, part)
        vouched.add(stream)
        return len(part)


class _Outbox:
    """The rows of one drain, part by part: read a page ahead, deleted behind what went out, one statement at a time."""

    def __init__(self, connection: Any, page: int) -> None:
        self.sent: list[int] = []
        """Ids that are acknowledged and not yet deleted."""
        self._connection, self._page = connection, page
        self._parts: Iterator[list[Outgoing]] = iter(())
        self._turning = asyncio.create_task(self._turn(after=0))

    def ensure_held(self) -> None:
        """Raise when the connection is lost, and with it the lock: somebody else may be sending by now."""
        if self._connection.is_closed():
            raise ConnectionError("the connection that held the lock of the relay is closed")

    async def next_part(self) -> list[Outgoing]:
        """Messages for one stream in the order of their rows; empty behind the last one."""
        if part := next(self._parts, None):
            return part
        rows = await self._read()
        if rows:
            self._turning = asyncio.create_task(self._turn(rows[-1]["id"], last=len(rows) < self._page))
        self._parts = _parts(rows)
        return next(self._parts, [])

    async def _read(self) -> list[Any]:
        # Not awaited itself: who is cancelled here would interrupt the statement.
        await asyncio.wait([self._turning])
        return self._turning.result()

    async def at_rest(self) -> None:
        """Wait until no statement is running, whatever came of it."""
        await asyncio.wait([self._turning])
        self._turning.exception()

    async def delete_sent(self) -> None:
        """Delete what is acknowledged."""
        if self.sent:
            gone, self.sent = self.sent, []
            await self._connection.execute(QUERIES["outbox_delete"], gone)

    async def _turn(self, after: int, *, last: bool = False) -> list[Any]:
        await self.delete_sent()
        return [] if last else await self._connection.fetch(QUERIES["outbox_batch"], self._page, after)


def _parts(rows: Sequence[Any]) -> Iterator[list[Outgoing]]:
    """Runs of rows whose subjects begin alike, which is one stream, none with more bytes than a batch may hold."""
    part: list[Outgoing] = []
    size, stream = 0, ""
    for row in map(Outgoing._make, rows):
        if part and not (row.subject.startswith(stream) and size + len(row.payload) <= BATCH_BYTES):
            yield part
            part, size = [], 0
        if not part:
            stream = row.subject.partition(".")[0] + "."
        part.append(row)
        size += len(row.payload)
    if part:
        yield part

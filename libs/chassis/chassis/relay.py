"""Outbox → JetStream: in order, nothing skipped, one active relay per service.

Atomic batches (JetStream ≥ 2.12, ``Nats-Batch-*`` headers of ADR-50): all or nothing, one acknowledgement for up to 1000 messages, at most 50
open per stream. A duplicate id rejects a whole batch (error 10201); that batch is then sent one at a time, where duplicates are acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import structlog
from contracts import streams
from nats.errors import Error as NatsError
from pydantic_core import from_json

from chassis import telemetry, wire
from chassis.bus import Bus
from chassis.database import UNREACHABLE, Pool, end_session
from chassis.eventlog import QUERIES
from chassis.ids import new_id
from chassis.waiting import wait_for_event

BATCH = 1000
BATCH_BYTES = 16 << 20
YIELD_EVERY = 100
"""Messages; the server works on them meanwhile, and so may other tasks: a whole batch takes 15 ms to write."""
_LOCK = 0x52454C59
_LOCK_WAIT_S = 20.0
"""A replica that may not send yet gives its connection back now and then."""
_NOT_ENABLED, _DUPLICATE = 10174, 10201
_FAILURES: tuple[type[BaseException], ...] = (NatsError, OSError, TimeoutError)

log = structlog.get_logger(__name__)


class PublishFailed(Exception):
    """The bus did not take a batch; nothing of it counts as sent."""


class BatchRejected(PublishFailed):
    """The server refused a batch with an error code of its own."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code


_EXPECTED: tuple[type[BaseException], ...] = (PublishFailed, *UNREACHABLE)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One row of the outbox."""

    id: int
    subject: str
    headers: dict[str, str]
    payload: bytes


async def publish_atomic(bus: Bus, batch: Sequence[Outgoing], *, timeout: float = 5.0) -> None:
    """Publish up to 1000 messages of one stream as a unit; raises BatchRejected, or PublishFailed when the outcome is unknown."""
    batch_id, last = new_id().hex, len(batch)
    try:
        for number, one in enumerate(batch, 1):
            headers = {**one.headers, "Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(number)}
            if number == last:
                headers["Nats-Batch-Commit"] = "1"
            if number in (1, last):
                reply = await bus.client.request(one.subject, one.payload, headers=headers, timeout=timeout)
                _check(reply.data, opening=number < last, expected=last)
            else:
                await wire.publish(bus.client, one.subject, wire.header_lines(headers), one.payload)
            if number % YIELD_EVERY == 0:
                await asyncio.sleep(0)
    except _FAILURES as error:
        raise PublishFailed(repr(error)) from error


async def publish_one_by_one(bus: Bus, batch: Sequence[Outgoing]) -> int:
    """Publish in order, each acknowledged before the next; returns how many went out before the first failure."""
    for done, one in enumerate(batch):
        try:
            await bus.publish(one.subject, one.payload, one.headers)
        except _FAILURES as error:
            log.warning("relay.publish_failed", subject=one.subject, error=repr(error))
            return done
    return len(batch)


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
        """Send row after row in their order; the database deletes and looks ahead while the bus is written to."""
        rows = await connection.fetch(QUERIES["outbox_batch"], self.batch, 0)
        sent: list[int] = []
        while rows:
            turning = asyncio.create_task(self._turn(connection, sent, rows))
            try:
                sent, failure = await self._send(rows)
            finally:
                # Also when cancelled: the connection serves one at a time.
                await asyncio.wait([turning])
            if failure is not None:
                await connection.execute(QUERIES["outbox_delete"], sent)
                raise failure
            rows = turning.result()
        await connection.execute(QUERIES["outbox_delete"], sent)

    async def _turn(self, connection: Any, sent: list[int], rows: list[Any]) -> list[Any]:
        """Delete what went out before ``rows`` and read what comes behind them."""
        if sent:
            await connection.execute(QUERIES["outbox_delete"], sent)
        if len(rows) < self.batch:
            return []
        return await connection.fetch(QUERIES["outbox_batch"], self.batch, rows[-1]["id"])  # type: ignore[no-any-return]

    async def _send(self, rows: list[Any]) -> tuple[list[int], Exception | None]:
        """Publish rows part by part; returns the ids of those that went out, and why it was not all of them."""
        done: list[int] = []
        for part in _parts(rows):
            started = time.perf_counter()
            try:
                sent = await self._publish(part)
            except Exception as error:
                return done, error
            done += [one.id for one in part[:sent]]
            telemetry.RELAYED.labels(self.service).inc(sent)
            telemetry.RELAY_BATCH.labels(self.service).observe(sent)
            telemetry.RELAY_SECONDS.labels(self.service).observe(time.perf_counter() - started)
            if sent < len(part):
                return done, PublishFailed(f"{len(rows) - len(done)} of {len(rows)} messages did not go out")
        return done, None

    async def _publish(self, part: list[Outgoing]) -> int:
        if not self.atomic or len(part) == 1:
            return await publish_one_by_one(self.bus, part)
        try:
            await publish_atomic(self.bus, part)
        except BatchRejected as refusal:
            if refusal.code not in (_DUPLICATE, _NOT_ENABLED):
                raise
            log.info("relay.one_by_one", code=refusal.code, messages=len(part))
            return await publish_one_by_one(self.bus, part)
        return len(part)


def _parts(rows: Sequence[Any]) -> Iterator[list[Outgoing]]:
    """Runs of rows for one stream, none with more bytes than a batch may hold."""
    for _, same_stream in groupby(rows, key=lambda row: streams.stream_of(row["subject"])):
        part: list[Outgoing] = []
        size = 0
        for row in same_stream:
            if part and size + len(row["payload"]) > BATCH_BYTES:
                yield part
                part, size = [], 0
            part.append(Outgoing(row["id"], row["subject"], from_json(row["headers"]), row["payload"]))
            size += len(row["payload"])
        yield part


def _check(reply: bytes, *, opening: bool, expected: int) -> None:
    answer = json.loads(reply) if reply else {}
    if "error" in answer:
        raise BatchRejected(answer["error"].get("err_code", 0), answer["error"].get("description", ""))
    # A server that knows no batches stores each message by itself and says so; nothing would vouch for those in the middle.
    if (opening and answer) or (not opening and answer.get("count") != expected):
        raise BatchRejected(_NOT_ENABLED, "the server took the batch for single messages")


__all__ = ["BatchRejected", "Outgoing", "PublishFailed", "Relay", "publish_atomic", "publish_one_by_one"]

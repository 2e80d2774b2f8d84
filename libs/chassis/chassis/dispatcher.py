"""From a delivery to exactly one effect: decode, find the handler, run it in one transaction, settle.

Acknowledge after commit. A transient failure goes back with ``min(2^n, 300)`` s and jitter; poison, or a message that failed too often,
goes to the dead letters and is terminated. An outage of the database is never the message's fault and never counts. A message that may have
ended earlier processes is handled alone (:mod:`chassis.suspects`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import structlog
from contracts import system, topology
from contracts.aggregate import Rejected
from contracts.envelope import Envelope
from contracts.message import Command, Event, Message, Signal
from contracts.registry import load_vocabulary
from pydantic import ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random

from chassis import deadletters, telemetry
from chassis.database import CONTENDED, UNREACHABLE, Connection, Pool, is_outage
from chassis.delivery import Delivery
from chassis.errors import Conflict, Poison, ProcessEnded
from chassis.eventlog import QUERIES, Loaded
from chassis.handlers import Handler, Handlers
from chassis.lanes import Lanes
from chassis.retries import Policy, Tally
from chassis.sharedlock import SharedLock
from chassis.states import States
from chassis.suspects import Case, Suspects
from chassis.together import Groups, Item
from chassis.work import Resources, Work

POISON: tuple[type[BaseException], ...] = (ValidationError, Poison)
RETRY_AT_ONCE: tuple[type[BaseException], ...] = (Conflict, *CONTENDED)
ALONE_WITHIN_S = 10.0
"""How long a message that must be handled alone waits for those in hand, and keeps those that came later waiting."""
KEPT_FREE = 2
"""Connections that handlers leave to the relay, the heartbeats and whatever a handler asks of the pool beside its own transaction."""
log = structlog.get_logger(__name__)


class Dispatcher:
    """Runs the handlers of one service. ``committed`` is called after each commit that left something to send or to run, ``handled`` after others."""

    def __init__(
        self,
        handlers: Handlers,
        pool: Pool,
        resources: Resources,
        *,
        committed: Callable[[], None] = lambda: None,
        handled: Callable[[], None] = lambda: None,
        announce: Callable[[Signal], Awaitable[None]] | None = None,
        policy: Policy | None = None,
        direct_limit: int = 32,
    ) -> None:
        self.handlers, self.pool, self.resources = handlers, pool, resources
        self.service = handlers.service
        self.policy = policy or Policy()
        self._committed, self._handled, self._announce = committed, handled, announce
        self._lanes, self._failures = Lanes(), Tally()
        self._company, self._suspects = SharedLock(), Suspects(pool)
        transactions = max(1, pool.get_max_size() - KEPT_FREE)
        self._transactions = asyncio.Semaphore(transactions)
        self._groups = Groups(self._alone, self._together, concurrency=transactions)
        self._states = States()
        self._direct = asyncio.Semaphore(direct_limit)
        self._tasks: set[asyncio.Task[None]] = set()

    async def deliver(self, consumer: str, delivery: Delivery) -> None:
        """Handle one delivery and settle it; never raises for anything the message did."""
        if self._suspects.is_one(consumer, delivery):
            direct = await self._deliver_suspect(consumer, delivery)
        else:
            async with self._company.shared():
                direct = await self._deliver(consumer, delivery)
        if direct is not None:
            await self._start_direct(*direct)

    async def execute(self, consumer: str, message: Message, envelope: Envelope) -> bool:
        """Run the handler of a message once, with its effects in one transaction; False when it had been handled before."""
        return await self._groups.run(Item(consumer, message, envelope))

    async def leave(self) -> None:
        """The process is about to be stopped: what that interrupts must not count as a crash."""
        await self._suspects.leave()

    async def drain(self) -> None:
        """No delivery is in hand any more: cut off what was handled for some that were cut off, and wait for direct handlers."""
        await self._groups.end()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver(self, consumer: str, delivery: Delivery) -> tuple[Message, Envelope] | None:
        """Settle one delivery. Returns a command that was acknowledged and is now to be handled beside all others."""
        try:
            message, envelope = _read(delivery)
        except Exception as error:
            # Reading is pure, so that whatever goes wrong here goes wrong again.
            await self._bury(consumer, delivery, error)
            return None
        if self.handlers.is_direct(type(message)):
            await delivery.ack()
            return message, envelope
        async with self._lanes.turn(topology.ordering_key(message)):
            await self._deliver_in_order(consumer, delivery, message, envelope)
        return None

    async def _deliver_suspect(self, consumer: str, delivery: Delivery) -> tuple[Message, Envelope] | None:
        """Settle one delivery while nothing else is handled here and a mark in the database says so."""
        async with self._company.exclusive(ALONE_WITHIN_S) as alone:
            if alone:
                try:
                    async with self._suspects.watch(consumer, delivery) as case:
                        if case is not None:
                            return await self._deliver_alone(consumer, delivery, case)
                except UNREACHABLE as error:
                    log.warning("delivery.not_marked", subject=delivery.subject, error=repr(error))
        if not delivery.settled:
            await self._again(consumer, delivery, "", self.policy.delay_s(1), "held_back")
        return None

    async def _deliver_alone(self, consumer: str, delivery: Delivery, case: Case) -> tuple[Message, Envelope] | None:
        if case.crashes >= self.policy.max_crashes:
            await self._bury(consumer, delivery, ProcessEnded(case.crashes))
            return None
        if case.crashed_now:
            log.error(
                "delivery.ended_the_process", subject=delivery.subject, message=case.message_id, times=case.crashes
            )
            # Not at once: what it has kept from being handled goes first.
            await self._again(consumer, delivery, _lane_of(delivery), self.policy.delay_s(case.crashes), "crashed")
            return None
        return await self._deliver(consumer, delivery)

    async def _deliver_in_order(self, consumer: str, delivery: Delivery, message: Message, envelope: Envelope) -> None:
        key = topology.ordering_key(message)
        wait = self._lanes.hold_back_s(consumer, key, delivery.sequence)
        if wait is not None:
            await self._again(consumer, delivery, key, wait, "held_back")
            return
        try:
            fresh = await self._groups.run(Item(consumer, message, envelope, delivery.deliveries))
        except POISON as error:
            await self._bury(consumer, delivery, error, key)
        except Exception as error:
            await self._retry_or_bury(consumer, delivery, key, error)
        else:
            self._dealt_with(consumer, delivery, key, "handled" if fresh else "duplicate")
            await delivery.ack()

    async def _retry_or_bury(self, consumer: str, delivery: Delivery, key: str, error: Exception) -> None:
        if await is_outage(self.pool, error):
            delay = self.policy.delay_s(min(delivery.deliveries, 3))
        else:
            failures = self._failures.add(consumer, delivery.sequence)
            if failures >= self.policy.max_deliveries:
                await self._bury(consumer, delivery, error, key)
                return
            delay = self.policy.delay_s(failures)
        log.warning(
            "delivery.retry", subject=delivery.subject, deliveries=delivery.deliveries, delay_s=round(delay, 2), error=repr(error)[:500],
            exc_info=not isinstance(error, UNREACHABLE),
        )  # fmt: skip
        await self._again(consumer, delivery, key, delay, "retry")

    async def _bury(self, consumer: str, delivery: Delivery, error: BaseException, key: str = "") -> None:
        try:
            letter = await deadletters.bury(self.pool, self.service, consumer, delivery, error)
        except Exception as failure:
            log.warning("delivery.not_buried", subject=delivery.subject, error=repr(failure)[:500],
                        exc_info=not isinstance(failure, UNREACHABLE))  # fmt: skip
            await self._again(consumer, delivery, key, self.policy.delay_s(delivery.deliveries), "retry")
            return
        self._committed()
        self._dealt_with(consumer, delivery, key, "buried")
        log.error("delivery.buried", letter=letter, subject=delivery.subject, error=repr(error)[:500])
        await delivery.term()

    async def _again(self, consumer: str, delivery: Delivery, key: str, delay_s: float, outcome: str) -> None:
        if key:
            self._lanes.park(consumer, key, delivery.sequence, delay_s)
        telemetry.DELIVERIES.labels(self.service, consumer, outcome).inc()
        await delivery.nak(delay_s)

    def _dealt_with(self, consumer: str, delivery: Delivery, key: str, outcome: str) -> None:
        self._failures.forget(consumer, delivery.sequence)
        self._suspects.forget(consumer, delivery.sequence)
        self._lanes.clear(consumer, key, delivery.sequence)
        telemetry.DELIVERIES.labels(self.service, consumer, outcome).inc()

    async def _alone(self, item: Item) -> bool:
        with telemetry.processing(item.envelope, item.deliveries):
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(RETRY_AT_ONCE),
                stop=stop_after_attempt(self.policy.conflict_attempts),
                wait=wait_random(0.005, 0.05),
                before_sleep=_count_conflict,
                reraise=True,
            ):
                with attempt:
                    return await self._once(item)
        raise AssertionError("the last attempt raises")

    async def _once(self, item: Item) -> bool:
        consumer, envelope = item.consumer, item.envelope
        handler, work = self._find(item.message), self._work(envelope)
        try:
            connection = await work.begin()
            if await connection.fetchval(QUERIES["inbox_seen"], consumer, envelope.id):
                await work.rollback()
                return False
            try:
                await handler(item.message, work)
            except Rejected as refusal:
                await work.rollback()
                work = self._work(envelope)
                connection = await work.begin()
                await self._reject(work, item.message, envelope, refusal)
            await record(connection, consumer, envelope)
            await work.commit()
        except BaseException:
            await work.rollback()
            raise
        await self._tell(item, work)
        return True

    async def _together(self, items: Sequence[Item]) -> list[bool]:
        """Several messages in one transaction; raises whatever went wrong with any of them, and then nothing has happened."""
        outer = self._work(items[0].envelope)
        try:
            connection = await outer.begin()
            seen = await _seen(connection, items)
            fresh = [item for item in items if (item.consumer, item.envelope.id) not in seen]
            works = [await self._joined(outer, item) for item in fresh]
            await _record_all(connection, fresh)
            await outer.commit()
        except BaseException:
            await outer.rollback()
            raise
        for item, work in zip(fresh, works, strict=True):
            await work.commit()
            await self._tell(item, work)
        return [(item.consumer, item.envelope.id) not in seen for item in items]

    async def _joined(self, outer: Work, item: Item) -> Work:
        with telemetry.processing(item.envelope, item.deliveries):
            work = self._work(item.envelope)
            work.join(outer)
            await self._find(item.message)(item.message, work)
        return work

    async def _reject(self, work: Work, message: Message, envelope: Envelope, refusal: Rejected) -> None:
        if isinstance(message, Event):
            # An event is a fact: a reaction that cannot accept it is a defect to be seen, not an answer to somebody.
            raise Poison(f"{refusal.problem.title}: {refusal.problem.detail}") from refusal
        rejected = system.of(self.service, system.CommandRejected)(
            command_id=envelope.id.hex, command_type=envelope.message_type, problem=refusal.problem
        )
        await work.append(Loaded(rejected.stream, None, 0), [rejected])

    async def _settled(self, envelope: Envelope) -> None:
        if self._announce is None:
            return
        try:
            await self._announce(system.of(self.service, system.CommandSettled)(command_id=envelope.id.hex))
        except Exception as error:
            # It may be lost, and what it announces is committed.
            log.warning("signal.not_sent", error=repr(error))

    async def _start_direct(self, message: Message, envelope: Envelope) -> None:
        await self._direct.acquire()
        task = asyncio.create_task(self._run_direct(message, envelope))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_direct(self, message: Message, envelope: Envelope) -> None:
        outcome = "direct"
        try:
            with telemetry.processing(envelope, 1):
                await self._direct_with_retries(message, envelope)
        except Exception as error:
            outcome = "direct_failed"
            log.warning("direct.failed", type=envelope.message_type, key=message.key, error=repr(error), exc_info=True)
        finally:
            self._direct.release()
            telemetry.DELIVERIES.labels(self.service, f"commands-{self.service}", outcome).inc()

    async def _direct_with_retries(self, message: Message, envelope: Envelope) -> None:
        handler = self._find(message)
        async with self._lanes.turn(message.key):
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(RETRY_AT_ONCE),
                stop=stop_after_attempt(3),
                wait=wait_random(0, 0.05),
                reraise=True,
            ):
                with attempt:
                    work = self._work(envelope)
                    try:
                        await handler(message, work)
                        await work.commit()
                    except BaseException:
                        await work.rollback()
                        raise
        self._wake(work)

    async def _tell(self, item: Item, work: Work) -> None:
        self._wake(work)
        if isinstance(item.message, Command) and not work.appended:
            await self._settled(item.envelope)

    def _wake(self, work: Work) -> None:
        # The relay and the runners ask the database when they are woken: only for what is there.
        if work.appended or work.sent:
            self._committed()
        else:
            self._handled()

    def _find(self, message: Message) -> Handler:
        handler = self.handlers.find(type(message))
        if handler is None:
            raise Poison(f"{self.service} has no handler for {message.message_type}")
        return handler

    def _work(self, envelope: Envelope) -> Work:
        metadata = telemetry.caused_by(envelope)
        return Work(
            self.service,
            metadata,
            self.resources,
            self.pool,
            message=envelope,
            gate=self._transactions,
            states=self._states,
        )


def _read(delivery: Delivery) -> tuple[Message, Envelope]:
    envelope = Envelope.from_headers(delivery.headers, delivery.data)
    return load_vocabulary().decode(envelope.type, envelope.data), envelope


def _lane_of(delivery: Delivery) -> str:
    try:
        return topology.ordering_key(_read(delivery)[0])
    except Exception:  # what cannot be read has no order
        return ""


async def record(connection: Connection, consumer: str, envelope: Envelope) -> None:
    """Note in the inbox that a message has had its effects; raises Conflict when another delivery of it was faster."""
    status = await connection.execute(QUERIES["inbox_record"], consumer, envelope.id)
    if status == "INSERT 0 0":
        raise Conflict(f"{envelope.id} was handled meanwhile")


async def _seen(connection: Connection, items: Sequence[Item]) -> set[tuple[str, UUID]]:
    rows = await connection.fetch(QUERIES["inbox_seen_many"], *_keys(items))
    return {(row["consumer"], row["message_id"]) for row in rows}


async def _record_all(connection: Connection, items: Sequence[Item]) -> None:
    status = await connection.execute(QUERIES["inbox_record_many"], *_keys(items))
    if status != f"INSERT 0 {len(items)}":
        raise Conflict("one of a group was handled meanwhile")


def _keys(items: Sequence[Item]) -> tuple[list[str], list[UUID]]:
    return [item.consumer for item in items], [item.envelope.id for item in items]


def _count_conflict(state: RetryCallState) -> Any:
    telemetry.CONFLICTS.inc()

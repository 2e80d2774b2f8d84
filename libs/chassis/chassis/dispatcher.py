"""From a delivery to exactly one effect: decode, find the handler, run it in one transaction, settle.

Acknowledge after commit. A transient failure goes back with ``min(2^n, 300)`` s and jitter; poison, or a message that failed too often,
goes to the dead letters and is terminated. An unreachable database is never the message's fault and never counts.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from contracts import system, topology
from contracts.aggregate import Rejected
from contracts.envelope import Envelope, MalformedEnvelope
from contracts.message import Command, Event, Message, Signal
from contracts.registry import UnknownMessage, load_vocabulary
from pydantic import ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random

from chassis import deadletters, telemetry
from chassis.database import UNREACHABLE, Pool
from chassis.delivery import Delivery
from chassis.errors import Conflict, Poison
from chassis.eventlog import QUERIES, Loaded
from chassis.handlers import Handler, Handlers
from chassis.lanes import Lanes
from chassis.work import Resources, Work

POISON: tuple[type[BaseException], ...] = (ValidationError, UnknownMessage, MalformedEnvelope, Poison)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Policy:
    """How failures are retried: the delay after the n-th delivery is ``min(base_s * 2^n, cap_s)`` plus up to a quarter of it."""

    base_s: float = 1.0
    cap_s: float = 300.0
    max_deliveries: int = 12
    conflict_attempts: int = 8

    def delay_s(self, deliveries: int) -> float:
        """Seconds until the next delivery."""
        delay = min(self.base_s * 2.0 ** min(deliveries, 30), self.cap_s)
        return delay + random.uniform(0, delay / 4)


class Dispatcher:
    """Runs the handlers of one service. ``committed`` is called after each commit (wakes the relay and the runners)."""

    def __init__(
        self,
        handlers: Handlers,
        pool: Pool,
        resources: Resources,
        *,
        committed: Callable[[], None] = lambda: None,
        announce: Callable[[Signal], Awaitable[None]] | None = None,
        policy: Policy | None = None,
        direct_limit: int = 32,
    ) -> None:
        self.handlers, self.pool, self.resources = handlers, pool, resources
        self.service = handlers.service
        self.policy = policy or Policy()
        self._committed, self._announce = committed, announce
        self._lanes = Lanes()
        self._direct = asyncio.Semaphore(direct_limit)
        self._tasks: set[asyncio.Task[None]] = set()

    async def deliver(self, consumer: str, delivery: Delivery) -> None:
        """Handle one delivery and settle it; never raises for anything the message did."""
        try:
            envelope = Envelope.from_headers(delivery.headers, delivery.data)
            message = load_vocabulary().decode(envelope.type, envelope.data)
        except POISON as error:
            await self._bury(consumer, delivery, error)
            return
        if self.handlers.is_direct(type(message)):
            await delivery.ack()
            await self._start_direct(message, envelope)
            return
        async with self._lanes.turn(topology.ordering_key(message)):
            await self._deliver_in_order(consumer, delivery, message, envelope)

    async def execute(self, consumer: str, message: Message, envelope: Envelope) -> bool:
        """Run the handler of a message once, with its effects in one transaction; False when it had been handled before."""
        handler = self._find(message)
        fresh = False
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Conflict),
            stop=stop_after_attempt(self.policy.conflict_attempts),
            wait=wait_random(0.005, 0.05),
            before_sleep=_count_conflict,
            reraise=True,
        ):
            with attempt:
                fresh = await self._once(consumer, handler, message, envelope)
        return fresh

    async def drain(self) -> None:
        """Wait for direct handlers that still run."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver_in_order(self, consumer: str, delivery: Delivery, message: Message, envelope: Envelope) -> None:
        key = topology.ordering_key(message)
        if self._lanes.blocked(key, delivery.sequence):
            await delivery.nak(self.policy.delay_s(1))
            return
        try:
            with telemetry.processing(envelope, delivery.deliveries):
                await self.execute(consumer, message, envelope)
        except POISON as error:
            await self._bury(consumer, delivery, error)
        except Exception as error:
            await self._retry_or_bury(consumer, delivery, key, error)
            return
        else:
            await delivery.ack()
        self._lanes.clear(key, delivery.sequence)

    async def _retry_or_bury(self, consumer: str, delivery: Delivery, key: str, error: Exception) -> None:
        if delivery.deliveries >= self.policy.max_deliveries and not isinstance(error, UNREACHABLE):
            await self._bury(consumer, delivery, error)
            self._lanes.clear(key, delivery.sequence)
            return
        delay = self.policy.delay_s(delivery.deliveries)
        log.warning(
            "delivery.retry", subject=delivery.subject, deliveries=delivery.deliveries, delay_s=round(delay, 2), error=repr(error),
            exc_info=not isinstance(error, UNREACHABLE),
        )  # fmt: skip
        telemetry.DELIVERIES.labels(self.service, consumer, "retry").inc()
        self._lanes.park(key, delivery.sequence, delay)
        await delivery.nak(delay)

    async def _bury(self, consumer: str, delivery: Delivery, error: BaseException) -> None:
        try:
            letter = await deadletters.bury(self.pool, self.service, consumer, delivery, error)
        except UNREACHABLE:
            await delivery.nak(self.policy.delay_s(delivery.deliveries))
            return
        self._committed()
        await delivery.term()
        telemetry.DELIVERIES.labels(self.service, consumer, "buried").inc()
        log.error("delivery.buried", letter=letter, subject=delivery.subject, error=repr(error)[:500])

    async def _once(self, consumer: str, handler: Handler, message: Message, envelope: Envelope) -> bool:
        work = self._work(envelope)
        try:
            connection = await work.begin()
            if await connection.fetchval(QUERIES["inbox_seen"], consumer, envelope.id):
                await work.rollback()
                return False
            try:
                await handler(message, work)
            except Rejected as refusal:
                await work.rollback()
                work = self._work(envelope)
                connection = await work.begin()
                await self._reject(work, message, envelope, refusal)
            await connection.execute(QUERIES["inbox_record"], consumer, envelope.id)
            await work.commit()
        except BaseException:
            await work.rollback()
            raise
        self._committed()
        if isinstance(message, Command) and not work.appended:
            await self._settled(envelope)
        return True

    async def _reject(self, work: Work, message: Message, envelope: Envelope, refusal: Rejected) -> None:
        if isinstance(message, Event):
            # An event is a fact: a reaction that cannot accept it is a defect to be seen, not an answer to somebody.
            raise Poison(f"{refusal.problem.title}: {refusal.problem.detail}") from refusal
        rejected = system.of(self.service, system.CommandRejected)(
            command_id=envelope.id.hex, command_type=envelope.message_type, problem=refusal.problem
        )
        await work.append(Loaded(rejected.stream, None, 0), [rejected])

    async def _settled(self, envelope: Envelope) -> None:
        if self._announce is not None:
            await self._announce(system.of(self.service, system.CommandSettled)(command_id=envelope.id.hex))

    async def _start_direct(self, message: Message, envelope: Envelope) -> None:
        await self._direct.acquire()
        task = asyncio.create_task(self._run_direct(message, envelope))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_direct(self, message: Message, envelope: Envelope) -> None:
        try:
            with telemetry.processing(envelope, 1):
                await self._direct_with_retries(message, envelope)
        except Exception as error:
            log.warning("direct.failed", type=envelope.message_type, key=message.key, error=repr(error), exc_info=True)
        finally:
            self._direct.release()

    async def _direct_with_retries(self, message: Message, envelope: Envelope) -> None:
        handler = self._find(message)
        async with self._lanes.turn(message.key):
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(Conflict),
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
        if work.appended or work.sent:
            self._committed()

    def _find(self, message: Message) -> Handler:
        handler = self.handlers.find(type(message))
        if handler is None:
            raise UnknownMessage(f"{self.service} has no handler for {message.message_type}")
        return handler

    def _work(self, envelope: Envelope) -> Work:
        return Work(self.service, telemetry.caused_by(envelope), self.resources, self.pool, message=envelope)


def _count_conflict(state: RetryCallState) -> Any:
    telemetry.CONFLICTS.inc()

"""Delivers one notification under a lease: sends, says what became of it, comes again or gives up."""

from __future__ import annotations

from typing import cast

import structlog
from chassis import deadletters, eventlog
from chassis.delivery import Delivery
from chassis.leases import MAX_DEATHS, Again, Done, Lease, Outcome
from chassis.secrets import SecretUnreadable, SystemKey
from chassis.service import Service
from contracts import subjects
from contracts.envelope import Metadata, wrap
from contracts.notifier import Redeliver

from services.notifier import domain, store
from services.notifier.adapters.channel import (
    Channels,
    Delivered,
    Notification,
    Permanent,
    Severity,
    Target,
    Transient,
)
from services.notifier.adapters.channel import Outcome as Answer
from services.notifier.domain import NOTIFICATION
from services.notifier.settings import NotifierSettings
from services.notifier.store import Pending

CONSUMER = "commands-notifier"
DAY_S = 86_400.0
log = structlog.get_logger(__name__)


class Undeliverable(Exception):
    """Why a notification lies in the dead letters."""


class DeliveryRunner:
    """Delivers notifications of this replica."""

    def __init__(self, service: Service, channels: Channels, key: SystemKey, settings: NotifierSettings) -> None:
        self._service, self._channels, self._key, self._settings = service, channels, key, settings

    async def run(self, lease: Lease) -> Outcome:
        """One attempt; what may work later comes again."""
        async with self._service.pool.acquire() as connection:
            pending = await store.notification(connection, lease.id)
            metadata = await eventlog.story_of(connection, NOTIFICATION.stream(lease.id))
        if pending is None or metadata is None:
            return Done()
        if pending.error is not None:
            # A crash came between giving up and burying.
            await self._bury(lease, metadata, pending, pending.attempts, pending.error)
            return Done()
        if lease.deaths >= MAX_DEATHS:
            reason = f"its process ended {lease.deaths} times in a row during it"
            return await self._give_up(lease, metadata, pending, pending.attempts + lease.deaths, reason)
        answer = await self._send(lease, pending)
        attempts = pending.attempts + 1
        if answer is None:
            return await self._nobody_left(lease, metadata, pending)
        if isinstance(answer, Delivered):
            return await self._delivered(lease, metadata, attempts)
        if isinstance(answer, Permanent) or attempts >= self._settings.max_attempts:
            return await self._give_up(lease, metadata, pending, attempts, answer.reason)
        return await self._again(lease, answer, attempts)

    async def _send(self, lease: Lease, pending: Pending) -> Answer | None:
        async with self._service.pool.acquire() as connection:
            try:
                destination = await store.destination(connection, self._key, pending.target_id)
            except SecretUnreadable:
                return Transient("the stored address cannot be opened: the system key is not the one that sealed it")
        if destination is None:
            return None
        notification = Notification(
            lease.id, pending.title, pending.body, pending.event, cast("Severity", pending.severity)
        )
        channel = self._channels.of(destination.kind)
        return await channel.send(Target(destination.address, destination.secret), notification)

    async def _delivered(self, lease: Lease, metadata: Metadata, attempts: int) -> Outcome:
        async with self._service.unit(metadata, fence=lease.fence) as work:
            at = await work.load(NOTIFICATION, lease.id)
            await work.append(at, domain.decide_delivered(at.state, attempts))
            await store.remove_notification(work.connection, lease.id)
        return Done()

    async def _again(self, lease: Lease, answer: Transient, attempts: int) -> Outcome:
        pause = domain.pause_s(attempts, self._settings.retry_base_delivery_s, answer.retry_after)
        log.warning("notification.retry", notification=lease.id, attempts=attempts, pause_s=pause, error=answer.reason)
        async with self._service.pool.acquire() as connection:
            await store.attempted(connection, lease.id)
        return Again(pause)

    async def _give_up(self, lease: Lease, metadata: Metadata, pending: Pending, attempts: int, reason: str) -> Outcome:
        log.error("notification.failed", notification=lease.id, attempts=attempts, error=reason)
        async with self._service.unit(metadata, fence=lease.fence) as work:
            at = await work.load(NOTIFICATION, lease.id)
            await work.append(at, domain.decide_failed(at.state, attempts, reason))
            await store.failed(work.connection, lease.id, reason, self._settings.keep_failed_days * DAY_S)
        await self._bury(lease, metadata, pending, attempts, reason)
        return Done()

    async def _nobody_left(self, lease: Lease, metadata: Metadata, pending: Pending) -> Outcome:
        async with self._service.unit(metadata, fence=lease.fence) as work:
            at = await work.load(NOTIFICATION, lease.id)
            await work.append(at, domain.decide_failed(at.state, pending.attempts, "the target was removed"))
            await store.remove_notification(work.connection, lease.id)
        return Done()

    async def _bury(self, lease: Lease, metadata: Metadata, pending: Pending, attempts: int, reason: str) -> None:
        # What lies in the letter is a command, so that replaying it means what it means for every other letter: handle this now.
        again = Redeliver(notification_id=lease.id)
        envelope = wrap(
            again,
            id=domain.letter_id(lease.id, pending.rounds),
            metadata=metadata,
            source=self._service.name,
        )
        delivery = Delivery(
            None, subjects.of(again), envelope.to_headers(), envelope.data, sequence=0, deliveries=attempts
        )
        await deadletters.bury(
            self._service.pool, self._service.name, CONSUMER, delivery, Undeliverable(f"{pending.event_type}: {reason}")
        )
        self._service.committed()

"""One actor per watched streamer: it waits, asks for a check, and waits again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from chassis.waiting import wait_for_event
from contracts.monitor import CheckChannel

from services.scheduler.domain import check_delay_s
from services.scheduler.store import Watched

SendCheck = Callable[[CheckChannel], Awaitable[None]]


class Actor:
    """The loop of one streamer. :meth:`update` gives it a newer view and wakes it when that view asks for a prompt check."""

    def __init__(self, watched: Watched, send: SendCheck, *, jitter: float, first_within_s: float) -> None:
        self.watched, self._send = watched, send
        self._jitter, self._first_within_s = jitter, first_within_s
        self._wake = asyncio.Event()

    def update(self, watched: Watched) -> None:
        """Take over a changed configuration, session state or request."""
        before, self.watched = self.watched, watched
        if before != watched:
            self._wake.set()

    async def run(self) -> None:
        """Check for ever; raises whatever sending raises, for the supervisor to count."""
        loop = asyncio.get_running_loop()
        due = loop.time() + random.uniform(0, self._first_within_s)
        while True:
            before = self.watched
            await wait_for_event(self._wake, max(0.0, due - loop.time()))
            if self._wake.is_set():
                self._wake.clear()
                due = min(due, loop.time() + self._delay_s())
                if not self._asks_for_check(before):
                    continue
            await self._send(self._check())
            due = loop.time() + self._delay_s()

    def _asks_for_check(self, before: Watched) -> bool:
        now = self.watched
        return now.check_requested != before.check_requested or now.url != before.url

    def _delay_s(self) -> float:
        return check_delay_s(self.watched.effective, session_open=self.watched.session_open, jitter=self._jitter)

    def _check(self) -> CheckChannel:
        effective = self.watched.effective
        return CheckChannel(
            streamer_id=self.watched.streamer_id,
            url=self.watched.url,
            name=self.watched.name,
            offline_grace_s=effective.offline_grace_s,
            quality=effective.quality,
            protocol=effective.protocol,
            filters=effective.filters,
            network=effective.network,
            engine=effective.engine,
        )

"""Where the media of a channel is: what the monitor said last, or what it says when asked; and which source to take."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from contracts import subjects
from contracts.downloader import RecordingRequested
from contracts.message import Command, Message, Signal
from contracts.monitor import CheckChannel, SourcesResolved
from contracts.values import Effective, EndReason, Source

from services.downloader.adapters.engine import Offline, SourceFailed, SourcesUnavailable
from services.downloader.adapters.selection import best

HALF_LIFE_S = 60.0
log = structlog.get_logger(__name__)


class Signals(Protocol):
    """What this needs of the bus."""

    async def last_signal(self, cls: type[Signal], key: str) -> Signal | None: ...

    async def listen(self, subject: str, handler: Callable[[str, Message], Awaitable[None]]) -> Any: ...

    async def send_direct(self, command: Command) -> None: ...


class Health:
    """How often each source failed lately; failures count half after a minute. Signatures in the query do not tell sources apart."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, tuple[float, float]] = {}

    def failed(self, source: Source) -> None:
        """Count a failure."""
        self._failures[_place(source)] = (self.failures(source) + 1.0, self._clock())

    def worked(self, source: Source) -> None:
        """It brings media: only its latest failure counts, so that it is tried again, but after its peers."""
        if self.failures(source) > 1.0:
            self._failures[_place(source)] = (1.0, self._clock())

    def failures(self, source: Source) -> float:
        """Failures that still count."""
        count, at = self._failures.get(_place(source), (0.0, 0.0))
        return count * math.pow(0.5, (self._clock() - at) / HALF_LIFE_S)


class LiveSources:
    """The sources of one recording, from the monitor. Without an answer the last known ones are tried again."""

    def __init__(
        self, signals: Signals, request: RecordingRequested, *, freshness_s: float, resolve_timeout_s: float
    ) -> None:
        self._signals, self._request, self._effective = signals, request, request.effective
        self._freshness_s, self._timeout_s = freshness_s, resolve_timeout_s
        self._known: tuple[Source, ...] = ()
        self._health = Health()

    async def choose(self, *, refresh: bool) -> Source:
        """See `Sources`."""
        if refresh or not self._known:
            await self._resolve(ask=refresh)
        if not self._known:
            raise SourcesUnavailable("the channel is live, but nobody knows a source")
        return best(self._known, self._effective, self._health.failures)

    def failed(self, source: Source, failure: SourceFailed) -> None:
        """See `Sources`."""
        self._health.failed(source)

    def worked(self, source: Source) -> None:
        """See `Sources`."""
        self._health.worked(source)

    def reconfigure(self, effective: Effective) -> None:
        """See `Sources`."""
        self._effective = effective

    async def _resolve(self, *, ask: bool) -> None:
        answer = None if ask else await self._last()
        if answer is None:
            answer = await self._ask()
        if answer is None:
            if not self._known:
                raise SourcesUnavailable("the monitor does not answer")
            return
        if not answer.live:
            if answer.error:
                raise Offline(answer.error[:300], EndReason.FAILED)
            raise Offline("the channel is offline")
        self._known = answer.sources

    async def _last(self) -> SourcesResolved | None:
        """The last answer, if it is fresh and names sources."""
        try:
            last = await self._signals.last_signal(SourcesResolved, self._request.streamer_id)
        except Exception as error:  # the bus has its own errors; whichever it is, asking the monitor comes next
            log.warning("sources.last_unknown", error=repr(error))
            return None
        if not isinstance(last, SourcesResolved) or not last.live or not last.sources:
            return None
        age_s = (datetime.now(UTC) - datetime.fromisoformat(last.resolved_at)).total_seconds()
        return last if age_s <= self._freshness_s else None

    async def _ask(self) -> SourcesResolved | None:
        """Ask the monitor and wait for its next answer; ``None`` when there is none in time."""
        answered: asyncio.Future[SourcesResolved] = asyncio.get_running_loop().create_future()

        async def receive(_: str, message: Message) -> None:
            if isinstance(message, SourcesResolved) and not answered.done():
                answered.set_result(message)

        subscription = None
        try:
            subscription = await self._signals.listen(
                subjects.signal(SourcesResolved, self._request.streamer_id), receive
            )
            await self._signals.send_direct(self._check())
            async with asyncio.timeout(self._timeout_s):
                return await answered
        except TimeoutError:
            return None
        except Exception as error:  # an unreachable bus: the media may flow all the same
            log.warning("sources.not_asked", error=repr(error))
            return None
        finally:
            if subscription is not None:
                await _unsubscribe(subscription)

    def _check(self) -> CheckChannel:
        request = self._request
        return CheckChannel(
            streamer_id=request.streamer_id,
            url=request.url,
            name=request.streamer_name,
            offline_grace_s=self._effective.offline_grace_s,
            quality=self._effective.quality,
            protocol=self._effective.protocol,
            filters=self._effective.filters,
            network=self._effective.network,
            engine=self._effective.engine,
            broken=True,
        )


class FixedSources:
    """One address that is known and stays; the channel counts as ended when it refuses twice in a row."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._refusals = 0

    async def choose(self, *, refresh: bool) -> Source:
        """See `Sources`."""
        if self._refusals >= 2:
            raise Offline("the address is not served any more")
        return self._source

    def failed(self, source: Source, failure: SourceFailed) -> None:
        """See `Sources`."""
        self._refusals = self._refusals + 1 if failure.stale else 0

    def worked(self, source: Source) -> None:
        """See `Sources`."""
        self._refusals = 1 if self._refusals else 0

    def reconfigure(self, effective: Effective) -> None:
        """See `Sources`. There is nothing to choose from."""


async def _unsubscribe(subscription: Any) -> None:
    try:
        await subscription.unsubscribe()
    except Exception as error:  # the connection is gone, and the subscription with it
        log.debug("sources.unsubscribe_failed", error=repr(error))


def _place(source: Source) -> str:
    return source.url.partition("?")[0]

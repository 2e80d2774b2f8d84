"""Listens to one room: everything received goes to the journal and to browsers, every change of the connection is noted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog
from media.chat.message import ChatMessage, encode_line

from services.danmu.adapters.journal import Journal
from services.danmu.adapters.raw import RawWriter
from services.danmu.adapters.source import ChatSource, ConnectionChange, ConnectionState
from services.danmu.live import LiveFeed
from services.danmu.metrics import CONNECTED, LINES, LONG_OUTAGES, LOST, OUTAGES
from services.danmu.tally import Tally

FLUSH_S: Final = 0.4
"""A killed process loses at most half a second: this, and the time a flush takes."""
LEAVE_S: Final = 5.0
MAX_CHANGES: Final = 200
LONG_OUTAGE_MS: Final = 300_000
"""An outage that lasts this long is told once as an error, and to the session if it has not heard of it yet."""

log = structlog.get_logger(__name__)


class ListenerFailed(RuntimeError):
    """A driver broke off instead of reconnecting: a defect."""


@dataclass(slots=True)
class _Outage:
    """The time without a connection; `heard_of`: whether the session was told of it. Unix milliseconds."""

    began: int | None = None
    heard_of: bool = False
    long: bool = False

    def turns_long(self, at: int) -> bool:
        """Another attempt failed: whether the outage is a long one now and was none before."""
        if self.began is None:
            self.began = at
        if self.long or at - self.began < LONG_OUTAGE_MS:
            return False
        self.long = True
        return True


class Listener:
    """One connection for the whole life of a session. ``changes`` are those that nobody has told yet, bounded."""

    def __init__(
        self, kind: str, source: ChatSource, journal: Journal, live: LiveFeed, tally: Tally, wake: asyncio.Event
    ) -> None:
        self.journal, self._tally = journal, tally
        self.changes: deque[ConnectionChange] = deque(maxlen=MAX_CHANGES)
        self._kind, self._source, self._live, self._wake = kind, source, live, wake
        self.quiet = False
        """Another owner passes the lines on to browsers."""
        self.raw: RawWriter | None = None
        """Where frames are kept as they come; flushed and closed with the journal."""
        self._lines = LINES.labels(kind)
        self._tasks: list[asyncio.Task[None]] = []
        self._connected = False
        self._outage = _Outage()
        self._disk_failing = False
        self._dropped = 0

    def start(self) -> None:
        """Join the room."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._keep_flushing())]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._wake.set())

    def check(self) -> None:
        """Raises when listening has ended by itself."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                raise ListenerFailed("the listener ended") from task.exception()

    async def stop(self, *, abandon: bool = False) -> None:
        """Leave the room and flush; ``abandon`` leaves the files alone, for another owner has them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._source.close()
        if self._tasks:
            await asyncio.wait(self._tasks[:1], timeout=LEAVE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._set_connected(False)
        if self.raw is not None:
            self._close_raw(self.raw)
        if abandon:
            self.journal.abandon()
        else:
            self.flush()

    def _close_raw(self, raw: RawWriter) -> None:
        try:
            raw.close()
        except OSError as error:
            self._disk_failed(error)
        if raw.left_out:
            log.warning("chat.raw_frames_left_out", frames=raw.left_out)

    def flush(self) -> None:
        """Hand what was received to the system; a full disk is told once and tried again."""
        try:
            self.journal.flush()
            if self.raw is not None:
                self.raw.flush()
        except OSError as error:
            self._disk_failed(error)
        else:
            self._disk_failing = False
        if self.journal.dropped > self._dropped:
            lost = self.journal.dropped - self._dropped
            LOST.labels("limit").inc(lost)
            log.warning("chat.lines_dropped", lines=lost, total=self.journal.dropped)
            self._dropped = self.journal.dropped

    @property
    def connected(self) -> bool:
        """Whether this owner is in the room."""
        return self._connected

    async def _listen(self) -> None:
        async for heard in self._source.heard():
            if isinstance(heard, ConnectionChange):
                self._note(heard)
                continue
            lines = [encode_line(message) for message in heard]
            self._keep(heard, lines)
            if not self.quiet:
                self._live.send(lines)

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self.flush()

    def _keep(self, messages: Sequence[ChatMessage], lines: Sequence[bytes]) -> None:
        self._lines.inc(len(lines))
        try:
            self.journal.extend(messages, lines)
        except OSError as error:
            self._disk_failed(error)
        self._tally.add(messages)

    def _disk_failed(self, error: OSError) -> None:
        if not self._disk_failing:
            log.error("chat.not_written", error=str(error), next="kept in memory within bounds, tried again")
        self._disk_failing = True

    def _note(self, change: ConnectionChange) -> None:
        if change.state is ConnectionState.FAILED:
            # 1, 2, 4, 8 …: an outage of hours is a handful of lines.
            if change.attempt & (change.attempt - 1) == 0:
                log.warning("chat.connect_failed", kind=self._kind, attempt=change.attempt, reason=change.reason)
            self._note_long_outage(change)
            return
        self._set_connected(change.state is ConnectionState.CONNECTED)
        self._outage = _Outage(None if self._connected else change.at, heard_of=not self._connected)
        if change.state is ConnectionState.LOST:
            OUTAGES.labels(self._kind).inc()
        log.info(f"chat.{change.state}", kind=self._kind, host=change.host, reason=change.reason)
        self._tell(change)

    def _note_long_outage(self, failed: ConnectionChange) -> None:
        outage = self._outage
        if not outage.turns_long(failed.at):
            return
        LONG_OUTAGES.labels(self._kind).inc()
        log.error("chat.unreachable", kind=self._kind, attempts=failed.attempt, reason=failed.reason)
        if not outage.heard_of:
            # A room that was never joined was never lost either: the session's history must show it all the same.
            self._tell(replace(failed, state=ConnectionState.LOST, at=outage.began or failed.at))
        self._tell(failed)

    def _tell(self, change: ConnectionChange) -> None:
        self.changes.append(change)
        self._wake.set()

    def _set_connected(self, connected: bool) -> None:
        CONNECTED.inc(int(connected) - int(self._connected))
        self._connected = connected

"""Holds the chat of one session under the lease ``chat:<session_id>``: one connection from the plan to the end, a file per segment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog
from chassis.database import UNREACHABLE
from chassis.errors import LeaseLost
from chassis.leases import Again, Done, Lease, Outcome
from chassis.waiting import wait_for_event
from contracts.danmu import (
    ChatDisconnected,
    ChatFileCompleted,
    ChatPulse,
    ChatReconnected,
    ChatStarted,
    ChatUnreachable,
    Statistics,
)
from contracts.envelope import Metadata
from contracts.values import Artifact, Chat, EndReason
from media.chat.head import ChatHead
from media.chat.timing import Timing

from services.danmu import domain, store
from services.danmu.adapters import InvalidDescriptor, UnknownChatKind
from services.danmu.adapters.archive import Archive, ChatPart, statistics_from
from services.danmu.adapters.driver import ChatDriver
from services.danmu.adapters.journal import Journal, received_between
from services.danmu.adapters.raw import SUFFIX as RAW_SUFFIX
from services.danmu.adapters.raw import RawWriter
from services.danmu.adapters.source import ChatSource, ConnectionChange, ConnectionState
from services.danmu.domain import Cut, OwnCuts, Turn
from services.danmu.follower import Follower
from services.danmu.ledger import Also, Decide
from services.danmu.listener import Listener
from services.danmu.live import Audience, LiveFeed
from services.danmu.metrics import FILES, LOST
from services.danmu.overlap import LINGER_S, Arrival, Departure
from services.danmu.settings import DanmuSettings
from services.danmu.store import Mark, Plan, View
from services.danmu.tally import Tally

TICK_S: Final = 1.0
RETRY_CAP_S: Final = 30.0
log = structlog.get_logger(__name__)

OpenRoom = Callable[[Chat, str | None], AbstractAsyncContextManager[ChatSource]]
"""Opens a chat with an account, or without one."""


class Book(Protocol):
    """What the runner reads and writes; :class:`services.danmu.ledger.Ledger` does it in the database."""

    async def view(self, session_id: str) -> View | None: ...

    async def statistics(self, session_id: str) -> bytes | None: ...

    async def append(self, lease: Lease, metadata: Metadata, decide: Decide, also: Also | None = None) -> None: ...

    async def mark(self, session_id: str, mark: Mark, epoch: int) -> None: ...


class ChatRunner:
    """Runs the chats this replica has claimed. ``now_ms`` is the clock that messages are stamped with."""

    def __init__(
        self,
        settings: DanmuSettings,
        book: Book,
        open_room: OpenRoom,
        archive: Archive,
        follower: Follower,
        audience: Audience,
        now_ms: Callable[[], int],
    ) -> None:
        self.settings, self.book, self.open_room, self.archive = settings, book, open_room, archive
        self.follower, self.audience, self.now_ms = follower, audience, now_ms

    async def run(self, lease: Lease) -> Outcome:
        """Hold one session's chat until it has ended, or until the lease is lost or handed over."""
        with structlog.contextvars.bound_contextvars(session_id=lease.id, epoch=lease.epoch):
            try:
                return await self._run(lease)
            finally:
                self.follower.leave(lease.id)

    async def _run(self, lease: Lease) -> Outcome:
        view = await self.book.view(lease.id)
        if view is None:
            await self.archive.remove_journal(lease.id)
            return Done()
        plan = view.plan
        started = ChatStarted(
            session_id=plan.session_id,
            streamer_id=plan.streamer_id,
            chat_kind=plan.chat.kind,
            worker=self.settings.worker,
            epoch=lease.epoch,
        )
        await self.book.append(lease, plan.metadata, lambda chat: domain.decide_start(chat, started))
        await self.book.mark(lease.id, "holding", lease.epoch)
        try:
            async with self.open_room(plan.chat, plan.account) as source:
                return await _Held(self, lease, view, source).run()
        except (UnknownChatKind, InvalidDescriptor) as error:
            log.error("chat.cannot_be_opened", kind=plan.chat.kind, error=str(error))
            await self.end(lease, plan, EndReason.FAILED, plan.metadata)
            return Done()

    async def end(
        self,
        lease: Lease,
        plan: Plan,
        reason: EndReason,
        metadata: Metadata,
        statistics: Statistics | None = None,
        frames: tuple[Artifact, ...] = (),
    ) -> None:
        """Say that nothing more will be written, and forget what is not needed any more."""
        await self.book.append(
            lease,
            metadata,
            lambda chat: domain.decide_end(
                chat,
                session_id=plan.session_id,
                streamer_id=plan.streamer_id,
                reason=reason,
                statistics=statistics,
                frames=frames,
            ),
            lambda connection: store.end(connection, plan.session_id),
        )
        await self.archive.remove_journal(plan.session_id)


class _Held:
    """One session in hand: listens all the time, and looks at its rows whenever they change."""

    def __init__(self, runner: ChatRunner, lease: Lease, view: View, source: ChatSource) -> None:
        self._runner, self._lease, self._view = runner, lease, view
        self._settings, self._book, self._archive = runner.settings, runner.book, runner.archive
        self._wake = runner.follower.follow(lease.id)
        self._journal = Journal(runner.archive.folder(lease.id), lease.epoch)
        live = LiveFeed(
            lambda message, lines: runner.audience.lines(lease.id, message, lines), runner.settings.live_lines_per_s
        )
        self._tally = Tally(self._pulse, runner.settings.statistics_s)
        self._listener = Listener(view.plan.chat.kind, source, self._journal, live, self._tally, self._wake)
        if view.plan.keep_raw and isinstance(source, ChatDriver):
            self._listener.raw = self._keep_frames(source, view.plan.chat.kind)
        self._statistics: bytes | None = None
        self._lost_at: int | None = None
        self._inherited = False
        self._arrival = Arrival(runner.book, lease, view.plan.overlap)
        self._failures = 0

    def _keep_frames(self, source: ChatDriver, kind: str) -> RawWriter:
        path = self._archive.folder(self._lease.id) / f"{self._lease.epoch:08}{RAW_SUFFIX}"
        raw = RawWriter(path, kind, self._settings.raw_mb * 1_000_000)
        source.tap = lambda number, sent, frame: raw.add(self._runner.now_ms(), number, int(sent), frame)
        return raw

    async def run(self) -> Outcome:
        """Listen and cut until the end; see :meth:`ChatRunner.run`."""
        self._listener.start()
        handing_over = asyncio.create_task(self._wake_on_hand_over())
        lost = False
        try:
            return await self._follow()
        except LeaseLost:
            lost = True
            raise
        finally:
            handing_over.cancel()
            await self._tally.stop()
            await self._listener.stop(abandon=lost or self._lease.lost.is_set())

    async def _follow(self) -> Outcome:
        while not self._lease.handing_over.is_set():
            self._listener.check()
            if await self._look():
                return Done()
            delay = TICK_S if not self._failures else min(2.0 ** (self._failures - 1), RETRY_CAP_S)
            if await wait_for_event(self._wake, delay):
                self._wake.clear()
                self._changed = True
        await self._hand_over()
        return Again()

    _changed = False

    async def _look(self) -> bool:
        """One look at everything; whether the chat has ended. What the database or the store refuses now is tried again."""
        try:
            ended = await self._step()
        except UNREACHABLE as error:
            self._failures += 1
            log.warning("chat.postponed", error=repr(error), failures=self._failures)
            return False
        self._failures = 0
        return ended

    async def _step(self) -> bool:
        await self._tell_changes()
        if self._listener.connected:
            await self._arrival.joined()
        if self._changed or self._failures:
            self._changed = False
            view = await self._book.view(self._lease.id)
            if view is None:
                return True
            self._view = view
        if self._arrival.waits(self._view.plan.overlap):
            return False
        await self._inherit()
        await self._turn_own()
        over = self._is_over()
        if over:
            await self._listener.stop()
        await self._cut_files(over=over)
        if not over:
            waiting = domain.is_waiting(self._view.segments)
            self._journal.limit = self._settings.waiting_lines if waiting else None
            return False
        await self._end()
        return True

    async def _tell_changes(self) -> None:
        changes = self._listener.changes
        while changes:
            await self._tell(changes[0])
            changes.popleft()

    async def _tell(self, change: ConnectionChange) -> None:
        plan = self._view.plan
        if change.state is ConnectionState.LOST:
            lost = ChatDisconnected(session_id=plan.session_id, streamer_id=plan.streamer_id, cause=change.reason[:500])
            await self._append(lambda chat: domain.decide_disconnect(chat, lost))
            self._lost_at = change.at
        elif self._lost_at is not None:
            outage_s = max(change.at - self._lost_at, 0) / 1000
            if change.state is ConnectionState.FAILED:
                told = {"session_id": plan.session_id, "streamer_id": plan.streamer_id, "cause": change.reason[:500]}
                unreachable = ChatUnreachable(**told, outage_s=outage_s)
                await self._append(lambda chat: domain.decide_unreachable(chat, unreachable))
                return
            back = ChatReconnected(session_id=plan.session_id, streamer_id=plan.streamer_id, outage_s=outage_s)
            await self._append(lambda chat: domain.decide_reconnect(chat, back))
            self._lost_at = None

    async def _append(self, decide: Decide) -> None:
        await self._book.append(self._lease, self._view.plan.metadata, decide)

    async def _inherit(self) -> None:
        """After the connection stands: reading what the last owner left must not cost a line of what is said now."""
        if not self._inherited:
            left = await self._archive.take_over(self._lease.id, epoch=self._lease.epoch)
            self._statistics = await self._book.statistics(self._lease.id)
            self._journal.adopt(left)
            self._inherited = True
            said = received_between(left, self._last_cut_ms(), 1 << 62)
            self._tally.begin(statistics_from(self._statistics), said)
            if left:
                log.info("chat.taken_over", lines=sum(chunk.lines for chunk in left))

    async def _turn_own(self) -> None:
        """End the files of a chat without video where they are to end."""
        plan = self._view.plan
        if plan.own is None:
            return
        own, over = plan.own, plan.over
        cause = over.metadata if over else plan.metadata
        over_ms = over.at_ms if over else None
        while turn := domain.next_turn(self._view.segments, own, now_ms=self._runner.now_ms(), over_ms=over_ms):
            await self._turn(own, turn, cause)
            view = await self._book.view(self._lease.id)
            if view is None:
                return
            self._view = view

    async def _turn(self, own: OwnCuts, turn: Turn, cause: Metadata) -> None:
        await self._book.append(
            self._lease,
            cause,
            lambda chat: [],
            lambda connection: store.turn(connection, self._lease.id, own, turn, cause),
        )

    def _is_over(self) -> bool:
        over = self._view.plan.over
        if over is None:
            return False
        if domain.all_known(self._view.segments, expected=over.expected):
            return True
        if self._runner.now_ms() < over.at_ms + self._settings.straggler_s * 1000:
            return False
        log.warning("chat.segments_missing", expected=over.expected, known=len(self._view.segments))
        return True

    async def _cut_files(self, *, over: bool) -> None:
        linger_ms = round(self._settings.linger_s * 1000)
        while cut := domain.next_cut(self._view.segments, now_ms=self._runner.now_ms(), over=over, linger_ms=linger_ms):
            await self._finish(cut)
            view = await self._book.view(self._lease.id)
            if view is None:
                return
            self._view = view

    async def _finish(self, cut: Cut) -> None:
        plan, segment = self._view.plan, cut.segment
        chunks = self._journal.rotate(cut.upper_ms)
        part = ChatPart(
            segment.index, Timing(segment.started_ms, segment.breaks), cut.lower_ms, cut.upper_ms, _head(plan)
        )
        stored = await self._archive.store(
            plan.session_id, part, chunks, epoch=self._lease.epoch, statistics=self._statistics
        )
        finished = ChatFileCompleted(
            session_id=plan.session_id,
            streamer_id=plan.streamer_id,
            recording_id=segment.recording_id,
            index=segment.index,
            log=stored.log,
            xml=stored.xml,
            lines=stored.lines,
            started_at=_iso(segment.started_ms),
        )
        await self._book.append(
            self._lease,
            self._view.causes.get((segment.recording_id, segment.index), plan.metadata),
            lambda chat: domain.decide_file(chat, finished),
            lambda connection: store.cut(connection, plan.session_id, segment, cut.upper_ms, stored.statistics),
        )
        self._statistics = stored.statistics
        self._journal.forget(cut.upper_ms)
        FILES.inc()
        log.info("chat.file_completed", index=segment.index, lines=stored.lines, uri=stored.log.uri)

    async def _end(self) -> None:
        plan = self._view.plan
        last = self._last_cut_ms()
        chunks = self._journal.rotate()
        outside = await asyncio.to_thread(lambda: sum(1 for _ in received_between(chunks, last, 1 << 62)))
        if outside:
            LOST.labels("no_segment").inc(outside)
            log.warning("chat.lines_without_segment", lines=outside)
        cause = plan.over.metadata if plan.over else plan.metadata
        await self._archive.keep_raw(plan.session_id)
        # Of other owners' too: those that handed the chat over have put theirs there.
        frames = await self._archive.raw(plan.session_id) if plan.keep_raw else ()
        statistics = Statistics.model_validate(statistics_from(self._statistics).report())
        await self._runner.end(self._lease, plan, plan.reason or EndReason.SOURCE_ENDED, cause, statistics, frames)

    def _last_cut_ms(self) -> int:
        """Up to where what was said is in finished files."""
        return max((one.cut_ms or 0 for one in self._view.segments), default=0)

    async def _pulse(self, statistics: Statistics) -> None:
        plan = self._view.plan
        pulse = ChatPulse(session_id=plan.session_id, streamer_id=plan.streamer_id, statistics=statistics)
        await self._runner.audience.pulse(pulse)

    async def _hand_over(self) -> None:
        departure = Departure(self._book, self._lease, self._wake, self._settings.successor_s)
        await departure.wait_for_successor()
        if departure.joined:
            self._listener.quiet = True
            await asyncio.sleep(LINGER_S)
        await self._listener.stop()
        try:
            self._journal.rotate()
            await self._archive.keep_raw(self._lease.id)
            await self._archive.hand_over(self._lease.id, self._lease.epoch)
        except OSError as error:
            log.warning("chat.journal_left_here", error=str(error), next="only this machine's next owner will have it")
        await departure.departed()

    async def _wake_on_hand_over(self) -> None:
        await self._lease.handing_over.wait()
        self._wake.set()


def _head(plan: Plan) -> ChatHead:
    return ChatHead(
        platform=plan.platform,
        room_id=str(plan.chat.descriptor.get("room_id", "")),
        streamer=plan.streamer_name,
        title=plan.title,
        category=plan.category,
        live_started_at=plan.started_ms,
    )


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()

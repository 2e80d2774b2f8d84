"""The runner with a fake room and a fake database, on a real disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from chassis.errors import LeaseLost
from chassis.leases import Again, Done, Lease, Outcome
from chassis.storage import Storage
from chassis.telemetry import new_metadata
from contracts.danmu import (
    ChatDisconnected,
    ChatEnded,
    ChatFileCompleted,
    ChatPulse,
    ChatReconnected,
    ChatStarted,
    ChatSummarised,
    ChatUnreachable,
)
from contracts.message import Event
from contracts.values import Chat as ChatDescriptor
from contracts.values import EndReason
from media.chat.log import MEMBER_MESSAGES, ChatLogReader
from media.chat.message import ChatMessage, MessageKind

from services.danmu.adapters import UnknownChatKind
from services.danmu.adapters.archive import Archive
from services.danmu.adapters.journal import chunk_paths
from services.danmu.adapters.source import ConnectionChange, ConnectionState, Heard
from services.danmu.domain import CHAT, Segment
from services.danmu.follower import Follower
from services.danmu.live import Audience
from services.danmu.metrics import LONG_OUTAGES
from services.danmu.runner import ChatRunner
from services.danmu.settings import DanmuSettings
from services.danmu.store import Over, Plan, View
from tests.deadline import DEADLINE_S

PLAN = Plan(
    session_id="s",
    streamer_id="a",
    streamer_name="Ann",
    platform="bilibili",
    title="t",
    category="c",
    started_ms=0,
    chat=ChatDescriptor(kind="fake", descriptor={"room_id": 7}),
    metadata=new_metadata(),
    reason=None,
    over=None,
)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Room:
    """A chat whose messages the test speaks."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[ChatMessage | ConnectionChange | Exception | None] = asyncio.Queue()
        self.joined = asyncio.Event()

    def say(self, text: str) -> None:
        self.items.put_nowait(ChatMessage(MessageKind.CHAT, now_ms(), text=text))

    def turn(self, state: ConnectionState, at: int = 0) -> None:
        self.items.put_nowait(ConnectionChange(state, at, reason="pulled"))

    async def heard(self) -> AsyncIterator[Heard]:
        self.joined.set()
        while (item := await self.items.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item if isinstance(item, ConnectionChange) else [item]

    async def close(self) -> None:
        self.items.put_nowait(None)


class Book:
    """The rows and the log of one session."""

    def __init__(self) -> None:
        self.current: View | None = View(PLAN, (), {})
        self.events: list[Event] = []
        self.changed = asyncio.Event()
        self.refuses: list[Exception] = []
        self.revision = 1
        self.counted: bytes | None = None

    async def view(self, session_id: str) -> View | None:
        return self.current

    async def statistics(self, session_id: str) -> bytes | None:
        return self.counted

    async def mark(self, session_id: str, mark: str, epoch: int) -> None:
        if self.current is not None:
            overlap = replace(self.current.plan.overlap, **{mark: epoch})
            self.current = replace(self.current, plan=replace(self.current.plan, overlap=overlap))
            self.revision += 1
            self.changed.set()

    async def append(self, lease: Lease, metadata: Any, decide: Callable[..., list[Event]], also: Any = None) -> None:
        if self.refuses:
            raise self.refuses.pop(0)
        self.events += decide(CHAT.fold(self.events))
        if also is not None:
            await also(self)
        self.changed.set()

    async def execute(self, query: str, session_id: str, *arguments: Any) -> None:
        """What the statements of the store do, as far as the runner can see it."""
        if self.current is None:
            return
        if query.startswith("update segments set cut_ms"):
            recording_id, index, cut_ms = arguments
            self.current = replace(
                self.current,
                segments=tuple(
                    replace(one, cut_ms=cut_ms) if (one.recording_id, one.index) == (recording_id, index) else one
                    for one in self.current.segments
                ),
            )
        elif query.startswith("update chats set statistics"):
            (self.counted,) = arguments
        elif query.startswith("update chats set ended"):
            self.current = None

    async def revisions(self, session_ids: Any) -> dict[str, int]:
        return dict.fromkeys(session_ids, self.revision)


class Rig:
    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.room, self.book = folder, Room(), Book()
        self.settings = DanmuSettings(
            **{"database_dsn": "x", "data_dir": folder, "worker": "w", "successor_s": 0.0, **settings}
        )
        self.storage = Storage.from_uri(self.settings.artifacts)
        self.follower = Follower(self.book.revisions, 0.05)
        self.lines: list[bytes] = []
        self.pulses: list[ChatPulse] = []
        self.lease = Lease("chat:s", 1)
        self.open_error: Exception | None = None

    @asynccontextmanager
    async def open_room(self, chat: ChatDescriptor, account: str | None) -> AsyncIterator[Room]:
        if self.open_error:
            raise self.open_error
        yield self.room

    def publish(self, session_id: str, message: bytes, lines: int) -> None:
        self.lines += message.splitlines()
        self.book.changed.set()

    async def pulse(self, pulse: ChatPulse) -> None:
        self.pulses.append(pulse)
        self.book.changed.set()

    async def run(self) -> Outcome:
        archive = Archive(self.storage, self.settings.journals)
        runner = ChatRunner(
            self.settings, self.book, self.open_room, archive, self.follower, Audience(self.publish, self.pulse), now_ms
        )  # type: ignore[arg-type]
        await self.follower.start()
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await runner.run(self.lease)
        finally:
            await self.follower.stop()

    def change(self, *segments: Segment, over: int | None = None, reason: EndReason | None = None) -> None:
        """The rows as handlers in some replica would leave them."""
        assert self.book.current is not None
        cuts = {one.index: one.cut_ms for one in self.book.current.segments}
        plan = replace(PLAN, reason=reason, over=None if over is None else Over(over, now_ms(), new_metadata()))
        self.book.current = View(plan, tuple(replace(one, cut_ms=cuts.get(one.index)) for one in segments), {})
        self.book.revision += 1
        self.follower.wake()

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self.book.changed.clear()
                await self.book.changed.wait()

    async def heard(self, count: int) -> None:
        await self.until(lambda: len(self.lines) >= count)

    def of(self, cls: type[Event]) -> list[Any]:
        return [event for event in self.book.events if isinstance(event, cls)]

    def texts(self, index: int) -> list[str | None]:
        path = self.folder / "chat" / "s" / f"{index:05}.xml"
        return [line.text for line in ElementTree.parse(path).getroot().iter("d")]

    def journalled(self) -> list[str]:
        return [message.text for path in chunk_paths(self.folder / "danmu" / "s") for message in ChatLogReader(path)]


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[asyncio.Task[Outcome]]:
    task = asyncio.create_task(rig.run())
    try:
        await rig.room.joined.wait()
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def closed(index: int, started_ms: int, ended_ms: int) -> Segment:
    return Segment("r", index, started_ms, ended_ms=ended_ms, closed_ms=ended_ms)


async def pause_ms() -> int:
    await asyncio.sleep(0.002)
    return now_ms()


async def test_from_the_plan_to_the_end(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with running(rig) as task:
        rig.room.say("before the first segment")
        await rig.heard(1)
        first = await pause_ms()
        rig.change(Segment("r", 0, first))
        rig.room.say("in the first")
        await rig.heard(2)
        second = await pause_ms()
        rig.room.say("in the second")
        await rig.heard(3)
        rig.change(closed(0, first, second), Segment("r", 1, second))
        await rig.until(lambda: rig.of(ChatFileCompleted))
        assert rig.texts(0) == ["before the first segment", "in the first"]
        rig.change(closed(0, first, second), closed(1, second, now_ms()), over=2, reason=EndReason.REMOVED)
        assert isinstance(await task, Done)
    assert rig.texts(1) == ["in the second"]
    (started,), (ended,) = rig.of(ChatStarted), rig.of(ChatEnded)
    assert (started.worker, started.epoch, started.chat_kind) == ("w", 1, "fake")
    assert (ended.files, ended.lines, ended.reason) == (2, 3, EndReason.REMOVED)
    assert not (tmp_path / "danmu" / "s").exists()


async def test_what_is_said_in_the_very_moment_of_the_end_is_in_the_last_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, moment = Rig(tmp_path), now_ms()
    monkeypatch.setitem(globals(), "now_ms", lambda: moment)
    async with running(rig) as task:
        rig.room.say("bye")
        await rig.heard(1)
        rig.change(closed(0, moment - 1000, moment), over=1)
        assert isinstance(await task, Done)
    assert rig.texts(0) == ["bye"]


async def test_outages_are_told_with_their_length(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with running(rig):
        for state, at in (("connected", 0), ("lost", 1000), ("failed", 1500), ("connected", 3500)):
            rig.room.turn(ConnectionState(state), at)
        await rig.until(lambda: rig.of(ChatReconnected))
    assert [one.cause for one in rig.of(ChatDisconnected)] == ["pulled"]
    assert [one.outage_s for one in rig.of(ChatReconnected)] == [2.5]


async def test_a_room_that_cannot_be_joined_for_five_minutes_is_told_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    before = LONG_OUTAGES.labels("fake")._value.get()
    async with running(rig):
        for at in (1000, 300_999, 301_000, 900_000):
            rig.room.turn(ConnectionState.FAILED, at)
        rig.room.turn(ConnectionState.CONNECTED, 901_000)
        await rig.until(lambda: rig.of(ChatReconnected))
        for state, at in (("lost", 902_000), ("failed", 1_202_000), ("connected", 1_202_500)):
            rig.room.turn(ConnectionState(state), at)
        await rig.until(lambda: len(rig.of(ChatReconnected)) == 2)
    assert [one.outage_s for one in rig.of(ChatReconnected)] == [900, 300.5]
    assert len(rig.of(ChatDisconnected)) == 2
    assert [one.outage_s for one in rig.of(ChatUnreachable)] == [300, 300]
    assert LONG_OUTAGES.labels("fake")._value.get() - before == 2


async def test_an_unreachable_database_costs_no_line(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with running(rig) as task:
        await rig.until(lambda: rig.of(ChatStarted))
        rig.book.refuses = [ConnectionError("no database")]
        rig.room.turn(ConnectionState.LOST, 1)
        rig.room.say("meanwhile")
        await rig.heard(1)
        await rig.until(lambda: rig.of(ChatDisconnected))
        first = now_ms()
        rig.change(closed(0, first - 1000, first), over=1)
        assert isinstance(await task, Done)
    assert rig.texts(0) == ["meanwhile"]


async def test_a_hand_over_keeps_the_journal_for_the_next_owner(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with running(rig) as task:
        rig.room.say("one")
        await rig.heard(1)
        rig.lease.handing_over.set()
        assert isinstance(await task, Again)
    assert rig.journalled() == []  # it is in the store, where another machine finds it
    following = Rig(tmp_path)
    following.book.events, following.lease = rig.book.events, Lease("chat:s", 2)
    async with running(following) as task:
        following.room.say("two")
        await following.heard(1)
        start = now_ms() - 5000
        following.change(closed(0, start, now_ms()), over=1)
        assert isinstance(await task, Done)
    assert following.texts(0) == ["one", "two"]
    assert [one.epoch for one in following.of(ChatStarted)] == [1, 2]


async def test_a_lost_lease_leaves_the_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.danmu.listener.FLUSH_S", 3600)
    rig = Rig(tmp_path, live_lines_per_s=1000)
    async with running(rig) as task:
        for number in range(MEMBER_MESSAGES):
            rig.room.say(f"flushed {number}")
        rig.room.say("not flushed")
        await rig.heard(MEMBER_MESSAGES + 1)
        rig.lease.lost.set()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert rig.journalled() == [f"flushed {number}" for number in range(MEMBER_MESSAGES)]
    assert rig.of(ChatEnded) == []


async def test_a_stale_epoch_stops_the_run(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with running(rig) as task:
        await rig.until(lambda: rig.of(ChatStarted))
        rig.book.refuses = [LeaseLost("chat:s")]
        rig.room.turn(ConnectionState.LOST)
        with pytest.raises(LeaseLost):
            await task


async def test_a_kind_that_nobody_speaks_ends_at_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.open_error = UnknownChatKind("no driver")
    assert isinstance(await rig.run(), Done)
    (ended,) = rig.of(ChatEnded)
    assert (ended.reason, ended.files, ended.lines) == (EndReason.FAILED, 0, 0)


async def test_a_driver_that_breaks_is_not_mistaken_for_silence(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with running(rig) as task:
        rig.room.items.put_nowait(RuntimeError("a defect"))
        with pytest.raises(RuntimeError, match="listener ended"):
            await task
    assert rig.of(ChatEnded) == []


async def test_a_chat_that_is_over_already_is_let_go(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.book.current = None
    assert isinstance(await rig.run(), Done)
    assert rig.book.events == []


async def test_a_segment_that_was_never_heard_of_delays_the_end_only_so_long(tmp_path: Path) -> None:
    rig = Rig(tmp_path, straggler_s=0)
    async with running(rig) as task:
        rig.change(over=3)
        assert isinstance(await task, Done)
    (ended,) = rig.of(ChatEnded)
    assert ended.files == 0 and ended.reason is EndReason.SOURCE_ENDED


async def test_a_store_that_refuses_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path)
    put: Callable[..., Awaitable[Any]] = rig.storage.put_file
    failures = [OSError("no space"), OSError("no space")]

    async def flaky(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return await put(*arguments, **options)

    monkeypatch.setattr(rig.storage, "put_file", flaky)
    async with running(rig) as task:
        rig.room.say("one")
        await rig.heard(1)
        rig.change(closed(0, now_ms() - 1000, now_ms()), over=1)
        assert isinstance(await task, Done)
    assert failures == [] and rig.texts(0) == ["one"]


async def test_the_last_word_counts_what_is_in_the_files_and_comes_before_the_end(tmp_path: Path) -> None:
    rig = Rig(tmp_path, statistics_s=0.05)
    async with running(rig) as task:
        first = await pause_ms()
        rig.change(Segment("r", 0, first))
        for _ in range(3):
            rig.room.say("gg nice move")
        await rig.until(lambda: rig.pulses and rig.pulses[-1].statistics.messages == 3)
        rig.change(closed(0, first, now_ms()), over=1)
        assert isinstance(await task, Done)
    (summarised,) = rig.of(ChatSummarised)
    assert [type(event) for event in rig.book.events[-2:]] == [ChatSummarised, ChatEnded]
    assert summarised.statistics.messages == sum(summarised.statistics.rate) == 3
    assert summarised.statistics == rig.pulses[-1].statistics
    assert {"gg", "nice", "move"} == {one.word for one in summarised.statistics.words}


async def test_statistics_go_on_with_the_next_owner_and_count_nothing_twice(tmp_path: Path) -> None:
    """The second owner begins with what is in the first file, and with what the journal holds after it."""
    rig = Rig(tmp_path, statistics_s=0.05, linger_s=0)
    first = now_ms()
    async with running(rig) as task:
        rig.change(Segment("r", 0, first))
        rig.room.say("in a file")
        await rig.heard(1)
        second = await pause_ms()
        rig.change(closed(0, first, second), Segment("r", 1, second))
        await rig.until(lambda: rig.of(ChatFileCompleted))
        rig.room.say("in the journal")
        await rig.heard(2)
        rig.lease.handing_over.set()
        rig.follower.wake()
        assert isinstance(await task, Again)
    assert rig.book.counted is not None
    rig.lease, rig.room, rig.pulses = Lease("chat:s", 2), Room(), []
    async with running(rig) as task:
        rig.room.say("by the second")
        await rig.until(lambda: rig.pulses and rig.pulses[-1].statistics.messages == 3)
        rig.change(closed(0, first, second), closed(1, second, now_ms()), over=2)
        assert isinstance(await task, Done)
    (summarised,) = rig.of(ChatSummarised)
    assert summarised.statistics.messages == 3
    assert rig.of(ChatEnded)[0].lines == 3


async def test_a_chat_in_which_nothing_was_said_has_no_statistics(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with running(rig) as task:
        first = now_ms()
        rig.change(closed(0, first, first + 1), over=1)
        assert isinstance(await task, Done)
    assert rig.of(ChatSummarised) == [] and len(rig.of(ChatEnded)) == 1

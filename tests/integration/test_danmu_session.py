"""The chat service on a real bus and database, in a room of the studio."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from chassis.service import Service
from contracts.danmu import ChatDisconnected, ChatEnded, ChatFileCompleted, ChatReconnected, ChatStarted
from contracts.values import Effective, EndReason
from media.chat.log import ChatLogReader

from services.danmu.adapters.raw import SENT, RawReader
from services.danmu.adapters.reparse import reparsed
from services.danmu.app import build
from services.danmu.settings import DanmuSettings
from tests.integration.danmu_rig import (
    ROOM,
    SESSION,
    chats,
    log_lines,
    next_millisecond,
    now_ms,
    outside,
    path_of,
    texts,
    xml_offsets,
    xml_texts,
)
from tests.studio import Studio

pytestmark = pytest.mark.engines


@pytest.fixture
async def studio() -> AsyncIterator[Studio]:
    async with Studio() as studio:
        await studio.put_on_air(ROOM, title="a show", source="loop")
        yield studio


@asynccontextmanager
async def danmu(nats_url: str, dsn: str, folder: Path, studio: Studio, **changes: Any) -> AsyncIterator[Service]:
    options: dict[str, Any] = {
        "database_dsn": dsn,
        "nats_url": nats_url,
        "data_dir": folder,
        "allow_private_sources": True,
        "sources": {"bilibili": {"live_api": studio.url, "main_api": studio.url}},
        "worker": f"worker-{folder.name}",
        "successor_s": 0,
    }
    service = build(DanmuSettings(**{**options, **changes}))
    try:
        await service.start()
        yield service
    finally:
        await service.stop()


async def test_every_line_is_in_the_file_of_its_segment_exactly_once(
    nats_url: str, postgres_dsn: str, tmp_path: Path, studio: Studio
) -> None:
    async with outside(nats_url) as bus, danmu(nats_url, postgres_dsn, tmp_path, studio):
        # given a chat that is there before the first segment
        planned = await bus.plan()
        await studio.wait_for_room(ROOM, chatters=1)
        await studio.say_many(ROOM, chats("early", 5))
        await bus.wait_for_lines(*texts("early", 5))
        first = await next_millisecond()
        await bus.open_segment(0, first)
        await studio.say_many(ROOM, chats("first", 40))
        await studio.say(ROOM, kind="gift", gift_name="flower", count=3, price=100, uid=7)
        await bus.wait_for_lines(*texts("first", 40))

        # when the connection breaks in the middle
        await studio.fault(ROOM, "chat_drop")
        await bus.wait(ChatReconnected)
        await studio.wait_for_room(ROOM, chatters=1)
        await studio.say_many(ROOM, chats("after the outage", 10))
        await bus.wait_for_lines(*texts("after the outage", 10))

        # and the news of the cut comes only after more has been said
        second = await next_millisecond()
        await studio.say_many(ROOM, chats("second", 30))
        await bus.wait_for_lines(*texts("second", 30))
        completed = await bus.complete_segment(0, first, second)
        await bus.open_segment(1, second)
        (file,) = await bus.wait(ChatFileCompleted)
        await studio.say_many(ROOM, chats("second too", 30))
        await bus.wait_for_lines(*texts("second too", 30))
        third = await next_millisecond()
        await bus.complete_segment(1, second, third)
        await studio.say_many(ROOM, chats("last words", 3))
        await bus.wait_for_lines(*texts("last words", 3))
        over = await bus.end(segments=2)
        files, ended = await bus.finished()

    # then every line is in one file, the right one
    assert xml_texts(files[0]) == texts("early", 5) + texts("first", 40) + texts("after the outage", 10)
    assert xml_texts(files[1]) == texts("second", 30) + texts("second too", 30) + texts("last words", 3)
    assert xml_offsets(files[0])[:5] == [0] * 5 and all(offset >= 0 for offset in xml_offsets(files[1]))
    assert [line["text"] for line in log_lines(files[1])] == xml_texts(files[1])
    assert [line["gift"] for line in log_lines(files[0]) if line["kind"] == "gift"] == ["flower"]

    # and the events say so
    assert (ended.files, ended.reason) == (2, EndReason.STOPPED)
    assert ended.lines == sum(one.lines for one in files.values()) == 5 + 40 + 1 + 10 + 30 + 30 + 3
    assert len(bus.of(ChatDisconnected)) == len(bus.of(ChatReconnected)) == 1
    assert bus.of(ChatReconnected)[0].outage_s > 0
    assert file == files[0]
    for artifact in (one for pair in files.values() for one in (pair.log, pair.xml)):
        content = path_of(artifact).read_bytes()
        assert (artifact.size, artifact.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert path_of(artifact).parent == tmp_path / "chat" / SESSION
    causes = {
        type(event): envelope.metadata.causation_id for event, envelope in zip(bus.events, bus.envelopes, strict=True)
    }
    assert causes[ChatStarted] == planned.id and causes[ChatEnded] == over.id
    assert bus.envelopes[bus.events.index(file)].metadata.causation_id == completed.id
    assert not (tmp_path / "danmu" / SESSION).exists()


async def test_chat_after_a_break_of_the_media_is_moved_by_what_the_video_misses(
    nats_url: str, postgres_dsn: str, tmp_path: Path, studio: Studio
) -> None:
    gap = {"kind": "gap", "at_ms": 1, "source_ms": 1, "amount": 600_000, "lost_ms": 600_000, "count": 1, "detail": ""}
    async with outside(nats_url) as bus, danmu(nats_url, postgres_dsn, tmp_path, studio):
        # given a segment whose media broke off at once, for ten minutes
        await bus.plan()
        await studio.wait_for_room(ROOM, chatters=1)
        first = now_ms()
        await bus.open_segment(0, first)
        await next_millisecond()
        await studio.say_many(ROOM, chats("nobody saw", 3))
        await bus.wait_for_lines(*texts("nobody saw", 3))
        # when it is finished, a millisecond long by its media
        await bus.complete_segment(0, first, first + 1, repairs=(gap,))
        await bus.end(segments=1)
        files, _ = await bus.finished()
    # then what was said meanwhile lies where the picture comes back
    assert xml_offsets(files[0]) == [0.001] * 3


async def test_frames_that_were_kept_are_parsed_again_to_the_same_messages(
    nats_url: str, postgres_dsn: str, tmp_path: Path, studio: Studio
) -> None:
    async with outside(nats_url) as bus, danmu(nats_url, postgres_dsn, tmp_path, studio):
        await bus.plan(effective=Effective(keep_raw_chat=True))
        await studio.wait_for_room(ROOM, chatters=1)
        first = await next_millisecond()
        await bus.open_segment(0, first)
        await studio.say_many(ROOM, chats("kept", 20))
        await bus.wait_for_lines(*texts("kept", 20))
        # when the connection is made again meanwhile
        await studio.fault(ROOM, "chat_drop")
        await bus.wait(ChatReconnected)
        await studio.wait_for_room(ROOM, chatters=1)
        await studio.say(ROOM, kind="gift", gift_name="flower", count=3, price=100, uid=7)
        await studio.say(ROOM, text="the last word")
        await bus.wait_for_lines("the last word")
        await bus.complete_segment(0, first, now_ms())
        await bus.end(segments=1)
        files, ended = await bus.finished()
    (raw,) = (tmp_path / "chat" / SESSION).glob("*.frames.zst")
    assert [(path_of(one), one.size) for one in ended.frames] == [(raw, raw.stat().st_size)]
    reader = RawReader(raw)
    frames = list(reader)
    again = list(reparsed(reader.kind, frames))
    written = list(ChatLogReader(path_of(files[0].log)))
    assert {frame.connection for frame in frames} == {1, 2}
    assert [one._replace(received_at=0) for one in again] == [one._replace(received_at=0) for one in written]
    assert all(abs(new.received_at - old.received_at) < 1000 for new, old in zip(again, written, strict=True))
    assert all(frame.data == b"" for frame in frames if frame.direction == SENT)


async def test_a_silent_segment_gets_an_empty_file_and_a_discarded_one_gives_its_chat_to_the_next(
    nats_url: str, postgres_dsn: str, tmp_path: Path, studio: Studio
) -> None:
    async with outside(nats_url) as bus, danmu(nats_url, postgres_dsn, tmp_path, studio):
        await bus.plan()
        await studio.wait_for_room(ROOM, chatters=1)
        first = await next_millisecond()
        await bus.open_segment(0, first)
        second = await next_millisecond()
        await bus.complete_segment(0, first, second)
        await bus.open_segment(1, second)
        await studio.say_many(ROOM, chats("lost video", 4))
        await bus.wait_for_lines(*texts("lost video", 4))
        third = await next_millisecond()
        await bus.discard_segment(1)
        await bus.open_segment(2, third)
        await studio.say_many(ROOM, chats("video", 4))
        await bus.wait_for_lines(*texts("video", 4))
        await bus.complete_segment(2, third, now_ms())
        await bus.end(segments=2)
        files, ended = await bus.finished()
    assert sorted(files) == [0, 2]
    assert files[0].lines == 0 and xml_texts(files[0]) == []
    assert xml_texts(files[2]) == texts("lost video", 4) + texts("video", 4)
    assert ended.lines == 8


async def test_another_machine_goes_on_where_a_stopped_one_left(
    nats_url: str, postgres_dsn: str, tmp_path: Path, studio: Studio
) -> None:
    shared = {"storage_uri": (tmp_path / "shared").as_uri()}
    async with outside(nats_url) as bus:
        # given a segment whose first half one machine has heard
        async with danmu(nats_url, postgres_dsn, tmp_path / "one", studio, **shared):
            await bus.plan(effective=Effective(keep_raw_chat=True))
            await studio.wait_for_room(ROOM, chatters=1)
            first = await next_millisecond()
            await bus.open_segment(0, first)
            await studio.say_many(ROOM, chats("before", 20))
            await bus.wait_for_lines(*texts("before", 20))
        await studio.wait_for_room(ROOM, chatters=0)
        # when another one, which does not see its disk, hears the other half
        async with danmu(nats_url, postgres_dsn, tmp_path / "two", studio, **shared):
            started = await bus.wait(ChatStarted, 2)
            await studio.wait_for_room(ROOM, chatters=1)
            await studio.say_many(ROOM, chats("after", 20))
            await bus.wait_for_lines(*texts("after", 20))
            await bus.complete_segment(0, first, now_ms())
            await bus.end(segments=1)
            files, ended = await bus.finished()
    # then the file has both
    assert [one.worker for one in started] == ["worker-one", "worker-two"] and started[1].epoch > started[0].epoch
    assert xml_texts(files[0]) == texts("before", 20) + texts("after", 20)
    assert ended.lines == 40
    # and everything that lies there is told, the frames of both too
    frames = [f"{one.epoch:08}.frames.zst" for one in started]
    assert [path_of(one).name for one in ended.frames] == frames
    assert sorted(path.name for path in (tmp_path / "shared" / SESSION).rglob("*") if path.is_file()) == [
        "00000.chat.jsonl.gz",
        "00000.xml",
        *frames,
    ]


async def test_a_chat_of_an_unknown_kind_ends_at_once(
    nats_url: str, postgres_dsn: str, tmp_path: Path, studio: Studio
) -> None:
    async with outside(nats_url) as bus, danmu(nats_url, postgres_dsn, tmp_path, studio):
        await bus.plan(kind="carrier-pigeon")
        (ended,) = await bus.wait(ChatEnded)
        assert (ended.reason, ended.files, ended.lines) == (EndReason.FAILED, 0, 0)


async def test_a_room_that_cannot_be_reached_is_tried_until_the_session_is_over(
    nats_url: str, postgres_dsn: str, tmp_path: Path, studio: Studio
) -> None:
    # given an installation that does not connect to private addresses
    async with outside(nats_url) as bus, danmu(nats_url, postgres_dsn, tmp_path, studio, allow_private_sources=False):
        await bus.plan()
        await bus.wait(ChatStarted)
        first = now_ms()
        await bus.open_segment(0, first)
        await bus.complete_segment(0, first, now_ms())
        assert bus.of(ChatEnded) == []
        await bus.end(segments=1)
        files, ended = await bus.finished()
    assert files[0].lines == 0 and (ended.lines, ended.reason) == (0, EndReason.STOPPED)
    assert (await studio.room(ROOM))["chatters"] == 0

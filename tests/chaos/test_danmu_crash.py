"""The chat service killed in the middle of a segment: what was flushed is kept, nothing is there twice, the next one goes on in time."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from contracts.danmu import ChatDisconnected, ChatFileCompleted, ChatReconnected, ChatStarted
from media.chat.log import ChatLogReader

from services.danmu.adapters.journal import chunk_paths
from tests.deadline import DEADLINE_S
from tests.engines.handles import Engines
from tests.integration.danmu_rig import (
    ROOM,
    SESSION,
    chats,
    next_millisecond,
    now_ms,
    outside,
    texts,
    until,
    xml_texts,
)
from tests.studio import Studio

pytestmark = [pytest.mark.engines, pytest.mark.chaos]

REPOSITORY = Path(__file__).parents[2]


@asynccontextmanager
async def danmu_process(
    nats_url: str, dsn: str, folder: Path, studio: Studio
) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {
        **os.environ,
        "DANMU_DATABASE_DSN": dsn,
        "DANMU_NATS_URL": nats_url,
        "DANMU_DATA_DIR": str(folder),
        "DANMU_ALLOW_PRIVATE_SOURCES": "true",
        "DANMU_SOURCES__BILIBILI__LIVE_API": studio.url,
        "DANMU_SOURCES__BILIBILI__MAIN_API": studio.url,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.danmu", cwd=REPOSITORY, env=environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE_S):
                assert await process.wait() == 0


def journalled(folder: Path) -> list[str]:
    chunks = chunk_paths(folder / "danmu" / SESSION)
    return [message.text for chunk in chunks for message in ChatLogReader(chunk)]


async def test_a_killed_replica_loses_only_what_was_not_flushed(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, outside(nats_url) as bus:
        await studio.put_on_air(ROOM, source="loop")
        # given lines before and after the first cut, on disk
        async with danmu_process(nats_url, postgres_dsn, tmp_path, studio) as victim:
            await bus.plan()
            await studio.wait_for_room(ROOM, chatters=1, timeout=DEADLINE_S)
            await studio.say_many(ROOM, chats("early", 20))
            await until(lambda: len(journalled(tmp_path)) == 20)
            first = await next_millisecond()
            await bus.open_segment(0, first)
            await studio.say_many(ROOM, chats("kept", 250))
            await until(lambda: len(journalled(tmp_path)) == 270)
            # when it is killed while more is being said
            await studio.say_many(ROOM, chats("in the air", 30))
            victim.kill()
            await victim.wait()
        await studio.wait_for_room(ROOM, chatters=0)
        async with danmu_process(nats_url, postgres_dsn, tmp_path, studio):
            await bus.wait(ChatStarted, 2)
            await studio.wait_for_room(ROOM, chatters=1, timeout=DEADLINE_S)
            await studio.say_many(ROOM, chats("after", 50))
            await bus.wait_for_lines(*texts("after", 50))
            second = await next_millisecond()
            await bus.complete_segment(0, first, second)
            await bus.open_segment(1, second)
            await bus.wait(ChatFileCompleted)
            await studio.say_many(ROOM, chats("second", 10))
            await bus.wait_for_lines(*texts("second", 10))
            await bus.complete_segment(1, second, now_ms())
            await bus.end(segments=2)
            files, ended = await bus.finished()
    # then nothing that was on disk is missing and nothing is there twice
    found = Counter(xml_texts(files[0]))
    certain = texts("early", 20) + texts("kept", 250) + texts("after", 50)
    assert set(certain) <= found.keys() <= {*certain, *texts("in the air", 30)}
    assert set(found.values()) == {1}
    assert xml_texts(files[1]) == texts("second", 10)
    assert ended.lines == sum(found.values()) + 10
    assert [one.epoch for one in bus.of(ChatStarted)] == [1, 2]


async def test_a_file_that_was_being_finished_at_the_crash_is_finished_by_the_next_one(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, outside(nats_url) as bus:
        await studio.put_on_air(ROOM, source="loop")
        # given a segment whose cut is told while nobody is there to hear it
        async with danmu_process(nats_url, postgres_dsn, tmp_path, studio) as victim:
            await bus.plan()
            await studio.wait_for_room(ROOM, chatters=1, timeout=DEADLINE_S)
            first = await next_millisecond()
            await bus.open_segment(0, first)
            await studio.say_many(ROOM, chats("first", 120))
            await until(lambda: len(journalled(tmp_path)) == 120)
            second = await next_millisecond()
            await studio.say_many(ROOM, chats("second", 30))
            await until(lambda: len(journalled(tmp_path)) == 150)
            victim.kill()
            await victim.wait()
        await bus.nobody_listens()
        await bus.complete_segment(0, first, second)
        await bus.open_segment(1, second)
        # and a dead one's half-made files
        build = tmp_path / "danmu" / SESSION / "build-1"
        build.mkdir()
        (build / "00000.xml.part").write_text("<i>")
        (tmp_path / "chat" / SESSION).mkdir(parents=True)
        (tmp_path / "chat" / SESSION / "00000.xml").write_text("stored, but its event was not appended")
        async with danmu_process(nats_url, postgres_dsn, tmp_path, studio):
            await bus.wait(ChatFileCompleted)
            await bus.complete_segment(1, second, now_ms())
            await bus.end(segments=2)
            files, ended = await bus.finished()
    assert xml_texts(files[0]) == texts("first", 120)
    assert xml_texts(files[1]) == texts("second", 30)
    assert ended.lines == 150


async def test_chat_goes_on_while_the_database_is_away(
    nats_url: str, postgres_dsn: str, tmp_path: Path, engines: Engines
) -> None:
    async with Studio() as studio, outside(nats_url) as bus:
        await studio.put_on_air(ROOM, source="loop")
        async with danmu_process(nats_url, postgres_dsn, tmp_path, studio):
            # given a segment being recorded
            await bus.plan()
            await studio.wait_for_room(ROOM, chatters=1, timeout=DEADLINE_S)
            first = await next_millisecond()
            await bus.open_segment(0, first)
            await studio.say_many(ROOM, chats("before", 10))
            await bus.wait_for_lines(*texts("before", 10))
            # when the database dies, the connection breaks meanwhile, and the segment ends
            await asyncio.to_thread(engines.postgres.kill)
            await studio.fault(ROOM, "chat_drop")
            await studio.wait_for_room(ROOM, chatters=0)
            await studio.wait_for_room(ROOM, chatters=1, timeout=DEADLINE_S)
            await studio.say_many(ROOM, chats("meanwhile", 10))
            await bus.wait_for_lines(*texts("meanwhile", 10))
            await bus.complete_segment(0, first, now_ms())
            await asyncio.to_thread(engines.postgres.restart)
            await studio.say_many(ROOM, chats("afterwards", 10))
            await bus.wait_for_lines(*texts("afterwards", 10))
            await bus.end(segments=1)
            files, ended = await bus.finished()
    # then every line is there, and the outage was told after all
    assert xml_texts(files[0]) == texts("before", 10) + texts("meanwhile", 10) + texts("afterwards", 10)
    assert ended.lines == 30
    assert len(bus.of(ChatDisconnected)) == len(bus.of(ChatReconnected)) == 1

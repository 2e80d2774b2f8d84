"""Two replicas of the chat service: one is killed or stopped while the audience talks, and the lines of the other complete the file."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from contracts.danmu import ChatStarted

from services.danmu.listener import FLUSH_S
from tests.chaos.processes import Program
from tests.chaos.test_danmu_crash import journalled
from tests.deadline import DEADLINE_S
from tests.integration.danmu_rig import ROOM, next_millisecond, now_ms, outside, until, xml_texts
from tests.studio import Studio

pytestmark = [pytest.mark.engines, pytest.mark.chaos]

REPOSITORY = Path(__file__).parents[2]


async def stop(running: Program) -> None:
    """SIGTERM, and a clean end."""
    running.terminate()
    assert await running.ended() == 0, running.story()


@asynccontextmanager
async def replica(nats_url: str, dsn: str, machine: Path, store: Path, studio: Studio) -> AsyncIterator[Program]:
    """One process of the chat service that is ready; `machine` is its disk, `store` the storage of all."""
    environment = {
        **os.environ,
        "DANMU_DATABASE_DSN": dsn,
        "DANMU_NATS_URL": nats_url,
        "DANMU_DATA_DIR": str(machine),
        "DANMU_STORAGE_URI": store.as_uri(),
        "DANMU_LIVE_LINES_PER_S": "1000",
        "DANMU_ALLOW_PRIVATE_SOURCES": "true",
        "DANMU_SOURCES__BILIBILI__LIVE_API": studio.url,
        "DANMU_SOURCES__BILIBILI__MAIN_API": studio.url,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.danmu", cwd=REPOSITORY, env=environment, stderr=asyncio.subprocess.PIPE
    )
    running = Program(process)
    try:
        await running.said("service.ready", DEADLINE_S)
        yield running
    finally:
        if process.returncode is None:
            await stop(running)


class Speaker:
    """Says a numbered line every 20 ms until told to stop."""

    def __init__(self, studio: Studio) -> None:
        self.said: list[str] = []
        self._studio = studio
        self._task = asyncio.create_task(self._speak())

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _speak(self) -> None:
        while True:
            text = f"line {len(self.said)}"
            self.said.append(text)
            await self._studio.say(ROOM, text, user="ann", uid=7)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("machines", ["one machine", "two machines"])
async def test_a_planned_restart_with_a_second_replica_loses_and_repeats_no_line(
    nats_url: str, postgres_dsn: str, tmp_path: Path, machines: str
) -> None:
    first_disk = tmp_path / "first"
    second_disk = first_disk if machines == "one machine" else tmp_path / "second"
    store = tmp_path / "store"
    async with Studio() as studio, outside(nats_url) as bus:
        await studio.put_on_air(ROOM, source="loop")
        async with replica(nats_url, postgres_dsn, first_disk, store, studio) as leaving:
            # given a chat that the first replica holds, and a second one beside it
            await bus.plan()
            await studio.wait_for_room(ROOM, chatters=1, timeout=DEADLINE_S)
            first = await next_millisecond()
            await bus.open_segment(0, first)
            async with replica(nats_url, postgres_dsn, second_disk, store, studio):
                speaker = Speaker(studio)
                await bus.wait_for_lines("line 20")
                # when the first is stopped while the audience talks
                stopping = asyncio.create_task(stop(leaving))
                await bus.wait(ChatStarted, 2)
                await stopping
                marker = len(speaker.said) + 50
                await bus.wait_for_lines(f"line {marker}")
                await speaker.stop()
                said = list(speaker.said)
                await bus.wait_for_lines(said[-1])
                await bus.complete_segment(0, first, now_ms())
                await bus.end(segments=1)
                files, ended = await bus.finished()
    # then the file has each line exactly once, in the order in which they were said
    assert xml_texts(files[0]) == said
    assert ended.lines == len(said)
    assert len(bus.of(ChatStarted)) == 2


def test_no_more_than_half_a_second_waits_for_the_disk() -> None:
    assert FLUSH_S < 0.5


async def test_a_killed_replica_is_replaced_and_has_lost_only_what_was_not_flushed(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    disk, store = tmp_path / "disk", tmp_path / "store"
    async with Studio() as studio, outside(nats_url) as bus:
        await studio.put_on_air(ROOM, source="loop")
        async with replica(nats_url, postgres_dsn, disk, store, studio) as victim:
            # given a chat that the first replica holds, and a second one beside it
            await bus.plan()
            await studio.wait_for_room(ROOM, chatters=1, timeout=DEADLINE_S)
            first = await next_millisecond()
            await bus.open_segment(0, first)
            async with replica(nats_url, postgres_dsn, disk, store, studio):
                speaker = Speaker(studio)
                await bus.wait_for_lines("line 60")
                await until(lambda: len(journalled(disk)) > 60)
                # when the first is killed while the audience talks
                victim.kill()
                await victim.ended()
                certain = set(journalled(disk))
                heard = {line["text"] for line in bus.live}
                # then the second one has the chat
                await bus.wait(ChatStarted, 2)
                await studio.wait_for_room(ROOM, chatters=1, timeout=DEADLINE_S)
                await bus.wait_for_lines(f"line {len(speaker.said) + 20}")
                await speaker.stop()
                await bus.wait_for_lines(speaker.said[-1])
                await bus.complete_segment(0, first, now_ms())
                await bus.end(segments=1)
                files, ended = await bus.finished()
    found = Counter(xml_texts(files[0]))
    by_the_second = {line["text"] for line in bus.live} - heard - certain
    assert by_the_second
    assert certain | by_the_second <= found.keys()
    assert set(found.values()) == {1}
    assert ended.lines == found.total()

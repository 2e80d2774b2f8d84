"""A session whose chat alone is recorded: the scheduler plans it, the chat service makes its files, the pipeline finishes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import nats
import pytest
from chassis import provision
from chassis.ids import new_id
from chassis.telemetry import new_metadata
from contracts import subjects
from contracts.config import StreamerResolved
from contracts.danmu import ChatEnded, ChatFileCompleted
from contracts.envelope import Envelope, wrap
from contracts.message import Event
from contracts.monitor import SessionClosed, SessionOpened
from contracts.pipeline import SessionFinished
from contracts.registry import load_vocabulary
from contracts.scheduler import ProcessCompleted, RecordingPlanned, WatchStarted
from contracts.values import Chat, Effective, EndReason

from services.danmu.app import build as build_danmu
from services.danmu.settings import DanmuSettings
from services.pipeline.app import build as build_pipeline
from services.pipeline.settings import PipelineSettings
from services.scheduler.app import build as build_scheduler
from services.scheduler.settings import SchedulerSettings
from tests.deadline import DEADLINE_S
from tests.integration.danmu_rig import ROOM, chats, texts, xml_texts
from tests.studio import Studio

pytestmark = pytest.mark.engines

SESSION, STREAMER = "chat-only", "ann"
E = TypeVar("E", bound=Event)


class Bus:
    """Says what config and monitor would, and hears everything."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._changed = asyncio.Event()
        self.events: list[Event] = []
        self.commands: list[str] = []
        self.lines = 0

    async def listen(self) -> None:
        await self._client.subscribe("evt.>", cb=self._hear)
        await self._client.subscribe("cmd.>", cb=self._hear_command)
        await self._client.subscribe(subjects.chat_of(SESSION), cb=self._hear_lines)
        await self._client.flush()

    async def say(self, event: Event) -> None:
        envelope = wrap(event, id=new_id(), metadata=new_metadata(), source=event.service, sequence=1)
        stream = self._client.jetstream()
        await stream.publish(subjects.of(event), envelope.data, headers=envelope.to_headers(), stream="EVENTS")

    async def wait(self, cls: type[E], count: int = 1) -> list[E]:
        found: list[E] = []
        async with asyncio.timeout(DEADLINE_S):
            while len(found := [one for one in self.events if isinstance(one, cls)]) < count:
                self._changed.clear()
                await self._changed.wait()
        return found

    async def wait_for_lines(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while self.lines < count:
                self._changed.clear()
                await self._changed.wait()

    async def _hear(self, message: Any) -> None:
        envelope = Envelope.from_headers(message.headers, message.data)
        event = load_vocabulary().decode(envelope.type, envelope.data)
        if isinstance(event, Event):
            self.events.append(event)
        self._changed.set()

    async def _hear_command(self, message: Any) -> None:
        self.commands.append(message.subject)

    async def _hear_lines(self, message: Any) -> None:
        self.lines += len(message.data.splitlines())
        self._changed.set()


@asynccontextmanager
async def system(nats_url: str, dsn: str, folder: Path, studio: Studio) -> AsyncIterator[Bus]:
    """Scheduler, chat and pipeline, each with its own schema of one database."""
    common: dict[str, Any] = {"database_dsn": dsn, "nats_url": nats_url, "data_dir": folder}
    sources = {"bilibili": {"live_api": studio.url, "main_api": studio.url}}
    services = [
        build_scheduler(SchedulerSettings(**common)),
        build_danmu(DanmuSettings(**common, allow_private_sources=True, sources=sources, poll_s=0.1)),
        build_pipeline(PipelineSettings(**common)),
    ]
    client = await nats.connect(nats_url)
    try:
        await provision.provision(client.jetstream(timeout=10))
        bus = Bus(client)
        await bus.listen()
        for service in services:
            await service.start()
        yield bus
    finally:
        for service in services:
            await service.stop()
        await client.close()


async def record(bus: Bus, effective: Effective) -> None:
    """The streamer is known and goes on air."""
    await bus.say(
        StreamerResolved(
            streamer_id=STREAMER,
            name="Ann",
            url="http://example.org/1001",
            platform="bilibili",
            enabled=True,
            effective=effective,
            provenance={},
        )
    )
    await bus.wait(WatchStarted)
    await bus.say(
        SessionOpened(
            session_id=SESSION,
            streamer_id=STREAMER,
            streamer_name="Ann",
            url="http://example.org/1001",
            platform="bilibili",
            title="a show",
            category="games",
            started_at=datetime.now(UTC).isoformat(),
            chat=Chat(kind="bilibili", descriptor={"room_id": int(ROOM)}),
        )
    )


async def close(bus: Bus) -> SessionFinished:
    """The channel goes off air; the session once it is finished."""
    await bus.say(SessionClosed(session_id=SESSION, streamer_id=STREAMER, reason=EndReason.OFFLINE))
    (finished,) = await bus.wait(SessionFinished)
    return finished


async def test_one_file_holds_the_chat_of_a_session_without_video(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, system(nats_url, postgres_dsn, tmp_path, studio) as bus:
        await studio.put_on_air(ROOM, source="loop")
        # given a streamer whose chat alone is wanted
        await record(bus, Effective(record_video=False, segment_seconds=0))
        (planned,) = await bus.wait(RecordingPlanned)
        await studio.wait_for_room(ROOM, chatters=1, timeout=DEADLINE_S)
        # when the audience chats and the channel goes off air
        await studio.say_many(ROOM, chats("said", 30))
        await bus.wait_for_lines(30)
        finished = await close(bus)
    # then one file has all of it, the session is finished with it, and nobody was asked to record
    (file,) = await bus.wait(ChatFileCompleted)
    (completed,) = await bus.wait(ProcessCompleted)
    (ended,) = await bus.wait(ChatEnded)
    assert xml_texts(file) == texts("said", 30)
    assert (file.recording_id, file.index) == (planned.recording_id, 0)
    assert (completed.recordings, completed.segments) == ((), 0)
    assert (ended.files, ended.lines, ended.reason) == (1, 30, EndReason.OFFLINE)
    assert (finished.segments, finished.chat_lines) == (0, 30)
    assert {one.uri for one in finished.manifest} == {file.log.uri, file.xml.uri}
    assert not [subject for subject in bus.commands if "start_recording" in subject]


async def test_files_are_cut_by_time_and_lose_and_repeat_nothing(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, system(nats_url, postgres_dsn, tmp_path, studio) as bus:
        await studio.put_on_air(ROOM, source="loop")
        # given files of a second
        await record(bus, Effective(record_video=False, segment_seconds=1))
        await studio.wait_for_room(ROOM, chatters=1, timeout=DEADLINE_S)
        said: list[str] = []
        # when something is said in each of them
        for number in range(3):
            await studio.say_many(ROOM, chats(f"part {number}", 10))
            said += texts(f"part {number}", 10)
            await bus.wait_for_lines(len(said))
            await bus.wait(ChatFileCompleted, number + 1)
        finished = await close(bus)
    # then every line is in one of them, in order, and they are numbered without a hole
    files = sorted(await bus.wait(ChatFileCompleted, 3), key=lambda one: one.index)
    assert [line for file in files for line in xml_texts(file)] == said
    assert [file.index for file in files] == list(range(len(files)))
    assert finished.chat_lines == 30 and len(finished.manifest) == 2 * len(files)

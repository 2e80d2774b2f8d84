"""What stands around the downloader in its tests: a scheduler that commands, a monitor that knows the sources, ears on the bus, a player."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import asyncpg
import av
import nats
from chassis import provision
from chassis.bus import end
from chassis.ids import new_id
from chassis.telemetry import new_metadata
from contracts import subjects
from contracts.downloader import RecordingEnded, RecordingProgress, SegmentCompleted, StartRecording
from contracts.envelope import Envelope, wrap
from contracts.message import Command, Event, Message
from contracts.monitor import CheckChannel, SourcesResolved
from contracts.registry import load_vocabulary
from contracts.values import Artifact, Effective, Source

from services.downloader.settings import DownloaderSettings
from tests.deadline import DEADLINE_S

_MISSING = "select exists (select unnest($1::text[]) except select worker from replicas)"
RECORDING, SESSION, STREAMER = "r1", "s1", "ann"
REPOSITORY = Path(__file__).parents[2]
E = TypeVar("E", bound=Event)


class Outside:
    """The bus as everybody else sees it. ``sources`` is what the monitor answers; ``live`` whether it says that the channel is."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._jetstream = client.jetstream(timeout=10)
        self._changed = asyncio.Event()
        self.envelopes: list[Envelope] = []
        self.events: list[Event] = []
        self.progress: list[RecordingProgress] = []
        self.checks = 0
        self.live = True
        self.answers = True
        self.sources: Callable[[], tuple[Source, ...]] = tuple

    async def listen(self) -> None:
        await self.client.subscribe("evt.downloader.>", cb=self._hear)
        await self.client.subscribe("sig.downloader.>", cb=self._hear_progress)
        await self.client.subscribe(subjects.filter_of(CheckChannel), cb=self._check)
        await self.client.flush()

    async def command(self, command: Command) -> Envelope:
        envelope = wrap(command, id=new_id(), metadata=new_metadata(), source="scheduler")
        await self._jetstream.publish(
            subjects.of(command), envelope.data, headers=envelope.to_headers(), stream="COMMANDS"
        )
        return envelope

    async def start(self, recording: str = RECORDING, **settings: Any) -> Envelope:
        effective = {"segment_seconds": 0, "file_template": "{streamer}/{title} {index:03}", **settings}
        return await self.command(
            StartRecording(
                recording_id=recording,
                session_id=SESSION,
                streamer_id=STREAMER,
                streamer_name="Ann & <Bob>",
                url="http://example.org/1001",
                platform="studio",
                title="a/show",
                effective=Effective(**effective),
            )
        )

    async def announce(self) -> None:
        """The monitor's signal."""
        resolved = SourcesResolved(
            streamer_id=STREAMER,
            live=self.live,
            sources=self.sources() if self.live else (),
            resolved_at=datetime.now(UTC).isoformat(),
        )
        await self.client.publish(subjects.of(resolved), resolved.to_json(), headers={"ce-type": resolved.full_type()})

    async def wait(self, cls: type[E], count: int = 1, seconds: float = DEADLINE_S) -> list[E]:
        """The events of a class, once there are ``count``."""
        await self.until(lambda: len(self.of(cls)) >= count, f"{count} x {cls.__name__}", seconds)
        return self.of(cls)

    async def wait_for_media(self, more_ms: int, seconds: float = DEADLINE_S) -> None:
        """Until this much more has been recorded than at the call."""
        before = self.progress[-1].duration_ms if self.progress else 0
        await self.until(
            lambda: bool(self.progress) and self.progress[-1].duration_ms >= before + more_ms,
            f"{more_ms} ms of media",
            seconds,
        )

    def of(self, cls: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, cls)]

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = DEADLINE_S) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            told = [type(event).__name__ for event in self.events]
            raise AssertionError(f"not within {seconds} s: {what}; events: {told}") from None

    async def _hear(self, message: Any) -> None:
        envelope = Envelope.from_headers(message.headers, message.data)
        if any(one.id == envelope.id for one in self.envelopes):
            return
        event = load_vocabulary().decode(envelope.type, envelope.data)
        if isinstance(event, Event):
            self.envelopes.append(envelope)
            self.events.append(event)
            self._changed.set()

    async def _hear_progress(self, message: Any) -> None:
        self._decode(message)

    def _decode(self, message: Any) -> None:
        if message.headers and message.headers.get("ce-type") == RecordingProgress.full_type():
            self.progress.append(RecordingProgress.from_json(message.data))
            self._changed.set()

    async def _check(self, message: Message) -> None:
        self.checks += 1
        if self.answers:
            await self.announce()


@asynccontextmanager
async def outside(nats_url: str) -> AsyncIterator[Outside]:
    """Create the streams and listen."""
    client = await nats.connect(nats_url, max_reconnect_attempts=-1)
    try:
        await provision.provision(client.jetstream(timeout=10))
        world = Outside(client)
        await world.listen()
        yield world
    finally:
        await end(client)


def settings(nats_url: str, dsn: str, folder: Path, **changes: Any) -> DownloaderSettings:
    """Settings of a replica that records into ``folder`` and does not wait long."""
    return DownloaderSettings(
        **{
            "database_dsn": dsn,
            "nats_url": nats_url,
            "data_dir": folder,
            "allow_private_sources": True,
            "min_free_mb": 0,
            "warn_free_mb": 0,
            "stall_s": 3,
            "reconnect_base_s": 0.1,
            "lost_after_s": 2,
            "poll_s": 0.2,
            "salvage_every_s": 0.5,
            "worker": "in-process",
            **changes,
        }
    )


@asynccontextmanager
async def replica(nats_url: str, dsn: str, folder: Path, worker: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A downloader as a process of its own; ends with SIGTERM unless the test killed it."""
    environment = {
        **os.environ,
        "DOWNLOADER_DATABASE_DSN": dsn,
        "DOWNLOADER_NATS_URL": nats_url,
        "DOWNLOADER_DATA_DIR": str(folder),
        "DOWNLOADER_ALLOW_PRIVATE_SOURCES": "true",
        "DOWNLOADER_MIN_FREE_MB": "0",
        "DOWNLOADER_WARN_FREE_MB": "0",
        "DOWNLOADER_STALL_S": "3",
        "DOWNLOADER_LOST_AFTER_S": "2",
        "DOWNLOADER_SALVAGE_EVERY_S": "0.5",
        "DOWNLOADER_WORKER": worker,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.downloader", cwd=REPOSITORY, env=environment
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE_S):
                assert await process.wait() == 0


async def looking(dsn: str, *workers: str) -> None:
    """Until these replicas have begun to look for recordings that they could stand by for or take over; they tell only each other."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(DEADLINE_S):
            while await connection.fetchval(_MISSING, list(workers)):  # noqa: ASYNC110 - nobody else is told
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


def flv(studio: Any, room: str = "1", **query: str) -> Source:
    suffix = "?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else ""
    return Source(url=studio.flv_url(room) + suffix, protocol="flv", container="flv")


def hls(studio: Any, container: str, room: str = "1") -> Source:
    return Source(url=studio.hls_url(room, container), protocol="hls", container=container)


def path_of(artifact: Artifact) -> Path:
    return Path(unquote(urlsplit(artifact.uri).path))


@dataclass(frozen=True)
class Played:
    """What a player sees: decoded frames, and from the first to the last one in ms."""

    frames: int
    duration_ms: int


def play(path: Path) -> Played:
    """Decode a whole file; raises when a frame cannot be decoded."""
    with av.open(str(path)) as container:
        times = [float(frame.time) for frame in container.decode(video=0) if frame.time is not None]
    return Played(len(times), round((times[-1] - times[0]) * 1000))


def check_files(world: Outside) -> list[Played]:
    """Every finished file plays for as long as its event says; nothing else lies around."""
    played = []
    for event in world.of(SegmentCompleted):
        path = path_of(event.artifact)
        assert path.stat().st_size == event.artifact.size
        seen = play(path)
        assert abs(seen.duration_ms - event.duration_ms) < 400, (event, seen)
        played.append(seen)
    return played


def left_parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.suffix in (".part", ".done", ".writing"))


def ended(world: Outside) -> RecordingEnded:
    (event,) = world.of(RecordingEnded)
    assert world.events[-1] is event, "the end is the last event of its stream"
    return event

"""What stands around the chat service in its tests: a scheduler and a downloader that only say things, and ears on the bus."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import nats
from chassis import provision
from chassis.bus import end
from chassis.ids import new_id
from chassis.telemetry import new_metadata
from contracts import subjects
from contracts.danmu import ChatEnded, ChatFileCompleted
from contracts.downloader import SegmentCompleted, SegmentDiscarded, SegmentOpened
from contracts.envelope import Envelope, wrap
from contracts.message import Event
from contracts.registry import load_vocabulary
from contracts.scheduler import ProcessCompleted, ProcessStopping, RecordingPlanned
from contracts.values import Artifact, Chat, Effective

from tests.deadline import DEADLINE_S
from tests.integration.harness import eventually

SESSION, STREAMER, RECORDING, ROOM = "s1", "ann", "r1", "1001"
E = TypeVar("E", bound=Event)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def next_millisecond() -> int:
    """A moment that everything received so far is before, and everything received from now on is not."""
    moment = now_ms() + 1
    while now_ms() < moment:  # noqa: ASYNC110 - it is one millisecond
        await asyncio.sleep(0)
    return moment


async def until(condition: Callable[[], Any], seconds: float = DEADLINE_S) -> Any:
    """Poll something that nobody announces, with a deadline."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.02)
    return found


class Outside:
    """The bus as everybody else sees it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._jetstream = client.jetstream()
        self._changed = asyncio.Event()
        self.envelopes: list[Envelope] = []
        self.events: list[Event] = []
        self.live: list[dict[str, Any]] = []

    async def listen(self) -> None:
        await self._client.subscribe("evt.danmu.>", cb=self._hear)
        await self._client.subscribe(subjects.chat_of(SESSION), cb=self._hear_lines)
        await self._client.flush()

    async def wait(self, cls: type[E], count: int = 1, seconds: float = DEADLINE_S) -> list[E]:
        """The first ``count`` events of a class."""
        await self._until(lambda: len(self.of(cls)) >= count, seconds)
        return self.of(cls)

    async def wait_for_lines(self, *texts: str) -> None:
        """Until browsers have been told these lines, that is until the service has received them."""
        await self._until(lambda: set(texts) <= {line["text"] for line in self.live}, DEADLINE_S)

    async def nobody_listens(self) -> None:
        """Until the bus has noticed that a killed service is gone: before that it delivers to the dead one's last request."""

        async def gone() -> bool:
            return not (await self._jetstream.consumer_info("EVENTS", "danmu")).num_waiting

        await eventually(gone, "the bus knows that nobody listens")

    def of(self, cls: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, cls)]

    async def say(self, event: Event) -> Envelope:
        envelope = wrap(event, id=new_id(), metadata=new_metadata(), source=event.service, sequence=1)
        await self._jetstream.publish(subjects.of(event), envelope.data, headers=envelope.to_headers(), stream="EVENTS")
        return envelope

    async def plan(self, kind: str = "bilibili", effective: Effective | None = None, **descriptor: Any) -> Envelope:
        return await self.say(
            RecordingPlanned(
                session_id=SESSION,
                streamer_id=STREAMER,
                streamer_name="Ann & <Bob>",
                url="http://example.org/1001",
                platform="bilibili",
                title="a show",
                category="games",
                recording_id=RECORDING,
                effective=effective or Effective(),
                chat=Chat(kind=kind, descriptor=descriptor or {"room_id": int(ROOM)}),
                started_at=datetime.now(UTC).isoformat(),
            )
        )

    async def open_segment(self, index: int, started_ms: int) -> None:
        await self.say(
            SegmentOpened(**_segment(index), uri=f"file:///video/{index}.flv", start_ms=0, started_at=_iso(started_ms))
        )

    async def complete_segment(
        self, index: int, started_ms: int, ended_ms: int, repairs: tuple[dict[str, Any], ...] = ()
    ) -> Envelope:
        return await self.say(
            SegmentCompleted(
                **_segment(index),
                artifact=Artifact(uri=f"file:///video/{index}.flv", media_type="video/x-flv", size=1),
                start_ms=0,
                duration_ms=ended_ms - started_ms,
                started_at=_iso(started_ms),
                split_reason="size",
                repairs=repairs,
            )
        )

    async def discard_segment(self, index: int) -> None:
        await self.say(SegmentDiscarded(**_segment(index), reason="empty"))

    async def end(self, segments: int) -> Envelope:
        await self.say(ProcessStopping(session_id=SESSION, streamer_id=STREAMER, reason="stopped"))
        return await self.say(
            ProcessCompleted(session_id=SESSION, streamer_id=STREAMER, recordings=(RECORDING,), segments=segments)
        )

    async def finished(self) -> tuple[dict[int, ChatFileCompleted], ChatEnded]:
        """The files by index, and the end."""
        (ended,) = await self.wait(ChatEnded)
        files = self.of(ChatFileCompleted)
        assert len(files) == len({one.index for one in files}) == ended.files
        return {one.index: one for one in files}, ended

    async def _hear(self, message: Any) -> None:
        envelope = Envelope.from_headers(message.headers, message.data)
        if any(one.id == envelope.id for one in self.envelopes):
            return
        event = load_vocabulary().decode(envelope.type, envelope.data)
        assert isinstance(event, Event)
        self.envelopes.append(envelope)
        self.events.append(event)
        self._changed.set()

    async def _hear_lines(self, message: Any) -> None:
        self.live += [json.loads(line) for line in message.data.splitlines()]
        self._changed.set()

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def outside(nats_url: str) -> AsyncIterator[Outside]:
    """Create the streams and listen."""
    client = await nats.connect(nats_url)
    try:
        await provision.provision(client.jetstream(timeout=10))
        world = Outside(client)
        await world.listen()
        yield world
    finally:
        await end(client)


def path_of(artifact: Artifact) -> Path:
    return Path(unquote(urlsplit(artifact.uri).path))


def xml_texts(file: ChatFileCompleted) -> list[str]:
    """The text of every chat line in the XML, in order."""
    return [line.text or "" for line in ElementTree.parse(path_of(file.xml)).getroot().iter("d")]


def xml_offsets(file: ChatFileCompleted) -> list[float]:
    return [float(line.get("p", "").split(",")[0]) for line in ElementTree.parse(path_of(file.xml)).getroot().iter("d")]


def log_lines(file: ChatFileCompleted) -> list[dict[str, Any]]:
    with gzip.open(path_of(file.log), "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    assert found[0]["aircheck_chat"] == 1
    return found[1:]


def chats(prefix: str, count: int) -> list[dict[str, Any]]:
    return [{"text": f"{prefix} {number}", "user": f"viewer{number}", "uid": number + 1} for number in range(count)]


def texts(prefix: str, count: int) -> list[str]:
    return [one["text"] for one in chats(prefix, count)]


def _segment(index: int) -> dict[str, Any]:
    return {"recording_id": RECORDING, "session_id": SESSION, "streamer_id": STREAMER, "index": index}


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()

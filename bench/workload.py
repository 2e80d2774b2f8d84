"""What is measured with: the events of broadcasts as the services append them, in the proportions of a real recording."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from chassis.ids import new_id, new_key
from chassis.telemetry import new_metadata
from contracts import subjects
from contracts.downloader import (
    RecordingEnded,
    RecordingRequested,
    RecordingStarted,
    SegmentCompleted,
    SegmentOpened,
)
from contracts.envelope import Envelope, wrap
from contracts.message import Event
from contracts.monitor import ChannelWentLive, SessionClosed, SessionOpened
from contracts.scheduler import ProcessCompleted, RecordingPlanned
from contracts.values import Artifact, Chat, Effective, EndReason

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SEGMENTS = 8
"""Files per broadcast: eight hours cut by the hour."""


@dataclass(frozen=True)
class Outgoing:
    """An event as it goes over the bus."""

    subject: str
    envelope: Envelope


def segment(recording_id: str, session_id: str, streamer_id: str, index: int) -> SegmentCompleted:
    """The commonest event of a recording: a file is finished."""
    uri = f"file:///recordings/{streamer_id}/{BEGIN:%Y-%m-%d}/{session_id}-{index:03}.flv"
    digest = hashlib.sha256(f"{recording_id}/{index}".encode()).hexdigest()
    return SegmentCompleted(
        recording_id=recording_id,
        session_id=session_id,
        streamer_id=streamer_id,
        index=index,
        artifact=Artifact(uri=uri, media_type="video/x-flv", size=1_890_000_000, sha256=digest),
        start_ms=index * 3_600_000,
        duration_ms=3_600_000,
        started_at=(BEGIN + timedelta(hours=index)).isoformat(),
        split_reason="duration",
    )


def segments(recording_id: str, first: int, count: int) -> list[Event]:
    """A run of finished files of one recording."""
    session_id = f"s-{recording_id}"
    return [segment(recording_id, session_id, "streamer", first + n) for n in range(count)]


def broadcasts(events: int) -> Iterator[Outgoing]:
    """At least ``events`` events of whole broadcasts, interleaved eight at a time as they would be on one day."""
    sent = 0
    while sent < events:
        together = [list(_broadcast(SEGMENTS)) for _ in range(8)]
        for at_one_moment in zip(*together, strict=True):
            yield from at_one_moment
            sent += len(at_one_moment)


def _broadcast(files: int) -> Iterator[Outgoing]:
    versions: dict[tuple[str, str], int] = {}
    metadata = new_metadata()
    for number, event in enumerate(_events(files)):
        stream = (event.service, event.stream)
        versions[stream] = versions.get(stream, 0) + 1
        moment = BEGIN + timedelta(minutes=number)
        envelope = wrap(
            event, id=new_id(), metadata=metadata, source=event.service, sequence=versions[stream], time=moment
        )
        yield Outgoing(subjects.of(event), envelope)


def _events(files: int) -> Sequence[Event]:
    session_id, recording_id, streamer_id = new_key(), new_key(), f"streamer-{secrets.token_hex(4)}"
    names = {"streamer_id": streamer_id, "streamer_name": "A channel", "url": f"https://live.example.com/{streamer_id}"}
    said = {"platform": "example", "title": "An evening with friends"}
    ids = {"recording_id": recording_id, "session_id": session_id, "streamer_id": streamer_id}
    begin, chat, effective = BEGIN.isoformat(), Chat(kind="example", descriptor={"room": 1234}), Effective()
    recorded: list[Event] = []
    for index in range(files):
        done = segment(recording_id, session_id, streamer_id, index)
        opened = SegmentOpened(
            **ids, index=index, uri=done.artifact.uri, start_ms=done.start_ms, started_at=done.started_at
        )
        recorded += [opened, done]
    length = files * 3_600_000
    return [
        ChannelWentLive(streamer_id=streamer_id, title=said["title"], category="chatting"),
        SessionOpened(session_id=session_id, **names, **said, category="chatting", started_at=begin, chat=chat),
        RecordingPlanned(
            **ids, streamer_name=names["streamer_name"], url=names["url"], **said,
            category="chatting", effective=effective, chat=chat, started_at=begin,
        ),
        RecordingRequested(
            **ids, streamer_name=names["streamer_name"], url=names["url"], **said, effective=effective, first_index=0
        ),
        RecordingStarted(**ids, worker="replica-1", epoch=1, engine="http-flv"),
        *recorded,
        SessionClosed(session_id=session_id, streamer_id=streamer_id, reason=EndReason.OFFLINE),
        RecordingEnded(
            **ids, reason=EndReason.OFFLINE, detail="", segments=files, next_index=files,
            duration_ms=length, bytes=files * 1_890_000_000,
        ),
        ProcessCompleted(session_id=session_id, streamer_id=streamer_id, recordings=(recording_id,), segments=files),
    ]  # fmt: skip

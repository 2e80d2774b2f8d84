"""What the chat service reacts to: the plan of a session, the cut points of its files, its end."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from chassis.errors import Poison
from chassis.handlers import Handlers
from chassis.work import Work
from contracts.downloader import SegmentCompleted, SegmentDiscarded, SegmentOpened
from contracts.scheduler import ProcessCompleted, ProcessStopping, RecordingPlanned

from services.danmu import store
from services.danmu.domain import CHAT

KIND = "chat"
"""The kind of lease under which a session's chat is held."""


async def on_recording_planned(event: RecordingPlanned, work: Work) -> None:
    """Keep the plan and offer the chat to whichever replica claims it."""
    if event.chat is None or not event.effective.record_chat:
        return
    at = await work.load(CHAT, event.session_id)
    if at.state.ended:
        return
    await store.save_plan(work.connection, event, event.chat, work.metadata, unix_ms(event.started_at), now_ms())
    await work.offer(KIND, f"{KIND}:{event.session_id}")


async def on_segment_opened(event: SegmentOpened, work: Work) -> None:
    """A file begins here."""
    await store.open_segment(await work.begin(), event, unix_ms(event.started_at))


async def on_segment_completed(event: SegmentCompleted, work: Work) -> None:
    """A file can be finished."""
    await store.close_segment(await work.begin(), event, unix_ms(event.started_at), work.metadata, now_ms())


async def on_segment_discarded(event: SegmentDiscarded, work: Work) -> None:
    """There is no such segment: its chat falls between its neighbours."""
    await store.discard_segment(await work.begin(), event)


async def on_process_stopping(event: ProcessStopping, work: Work) -> None:
    """Learn why the session closed."""
    await store.set_reason(await work.begin(), event)


async def on_process_completed(event: ProcessCompleted, work: Work) -> None:
    """No more segments: whoever holds the chat finishes it."""
    await store.set_over(await work.begin(), event, work.metadata, now_ms())


def handlers() -> Handlers:
    """The registry of this service."""
    registry = Handlers("danmu")
    registry.event(RecordingPlanned)(on_recording_planned)
    registry.event(SegmentOpened)(on_segment_opened)
    registry.event(SegmentCompleted)(on_segment_completed)
    registry.event(SegmentDiscarded)(on_segment_discarded)
    registry.event(ProcessStopping)(on_process_stopping)
    registry.event(ProcessCompleted)(on_process_completed)
    return registry


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


def unix_ms(text: str) -> int:
    """An ISO 8601 time as unix milliseconds; without a zone it is UTC. Raises Poison."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Poison(f"{text!r} is no ISO 8601 time") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)

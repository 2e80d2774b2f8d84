"""What the scheduler reacts to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chassis.handlers import Handlers
from chassis.ids import new_key
from chassis.work import Work
from contracts.config import StreamerRemoved, StreamerResolved
from contracts.downloader import RecordingEnded, StopRecording
from contracts.monitor import CloseSession, SessionClosed, SessionOpened
from contracts.scheduler import RecordingPlanned, RecordingRetried
from contracts.values import EndReason

from services.scheduler import domain, store
from services.scheduler.domain import PROCESS, WATCH


async def on_streamer_resolved(event: StreamerResolved, work: Work) -> None:
    """Watch a streamer with its new configuration, or stop watching it and end what runs."""
    at = await work.load(WATCH, event.streamer_id)
    events = domain.decide_watch(at.state, event)
    await work.append(at, events)
    await store.save_watch(work.connection, event)
    if events and not event.enabled:
        await work.send(CloseSession(streamer_id=event.streamer_id, reason=EndReason.STOPPED))


async def on_streamer_removed(event: StreamerRemoved, work: Work) -> None:
    """Forget a streamer and end what runs."""
    at = await work.load(WATCH, event.streamer_id)
    await work.append(at, domain.decide_unwatch(at.state, event.streamer_id))
    await store.remove_watch(work.connection, event.streamer_id)
    await work.send(CloseSession(streamer_id=event.streamer_id, reason=EndReason.REMOVED))


async def on_session_opened(event: SessionOpened, work: Work) -> None:
    """Plan the recording and ask the downloader for it, in one transaction."""
    at = await work.load(PROCESS, event.session_id)
    effective = await store.effective(work.connection, event.streamer_id)
    if effective is None:
        # A check that was on its way when the streamer was stopped: undo what it found.
        await work.send(CloseSession(streamer_id=event.streamer_id, reason=EndReason.STOPPED))
        return
    events = domain.decide_plan(at.state, event, effective, new_key())
    await work.append(at, events)
    await store.set_session(work.connection, event.streamer_id, event.session_id)
    if any(isinstance(one, RecordingPlanned) for one in events):
        await work.send(domain.start_of(PROCESS.fold(events, at.state)))


async def on_session_closed(event: SessionClosed, work: Work) -> None:
    """Stop the recording of a closed session."""
    at = await work.load(PROCESS, event.session_id)
    events = domain.decide_close(at.state, event)
    await work.append(at, events)
    await store.clear_session(work.connection, event.streamer_id, event.session_id)
    if events and at.state.running:
        await work.send(StopRecording(recording_id=at.state.running, reason=event.reason))


async def on_recording_ended(event: RecordingEnded, work: Work) -> None:
    """Complete the process or request the next recording of an open session."""
    at = await work.load(PROCESS, event.session_id)
    events = domain.decide_ended(at.state, event, new_key())
    await work.append(at, events)
    await store.request_check(work.connection, event.streamer_id)
    for retried in (one for one in events if isinstance(one, RecordingRetried)):
        due = datetime.now(UTC) + timedelta(seconds=retried.delay_s)
        await work.send(domain.start_of(PROCESS.fold(events, at.state), not_before=due.isoformat()))


def handlers() -> Handlers:
    """The registry of this service."""
    registry = Handlers("scheduler")
    registry.event(StreamerResolved)(on_streamer_resolved)
    registry.event(StreamerRemoved)(on_streamer_removed)
    registry.event(SessionOpened)(on_session_opened)
    registry.event(SessionClosed)(on_session_closed)
    registry.event(RecordingEnded)(on_recording_ended)
    return registry

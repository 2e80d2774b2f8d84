"""What the scheduler reacts to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chassis.eventlog import Loaded
from chassis.handlers import Handlers
from chassis.ids import new_key
from chassis.work import Work
from contracts.config import StreamerRemoved, StreamerResolved
from contracts.downloader import ReconfigureRecording, RecordingEnded, StopRecording
from contracts.monitor import ChannelTitleChanged, ChannelWentLive, CloseSession, SessionClosed, SessionOpened
from contracts.scheduler import RecordingPlanned, RecordingRetried
from contracts.values import Effective, EndReason

from services.scheduler import domain, store
from services.scheduler.domain import PROCESS, WATCH, Process


async def on_streamer_resolved(event: StreamerResolved, work: Work) -> None:
    """Watch a streamer with its new configuration, or stop watching it and end what runs."""
    at = await work.load(WATCH, event.streamer_id)
    process = await _process_of(event.streamer_id, work)
    events = domain.decide_watch(at.state, event)
    await work.append(at, events)
    await store.save_watch(work.connection, event)
    if events and not event.enabled:
        await work.send(CloseSession(streamer_id=event.streamer_id, reason=EndReason.STOPPED))
    elif event.enabled and process is not None:
        await _reconfigure(process, event.effective, work)


async def on_streamer_removed(event: StreamerRemoved, work: Work) -> None:
    """Forget a streamer and end what runs."""
    at = await work.load(WATCH, event.streamer_id)
    await work.append(at, domain.decide_unwatch(at.state, event.streamer_id))
    await store.remove_watch(work.connection, event.streamer_id)
    await work.send(CloseSession(streamer_id=event.streamer_id, reason=EndReason.REMOVED))


async def on_title_changed(event: ChannelTitleChanged | ChannelWentLive, work: Work) -> None:
    """Remember what an open session shows now, and cut its recording there if that is wanted. A channel may come back with another title."""
    at = await _process_of(event.streamer_id, work)
    if at is None:
        return
    events = domain.decide_retitle(at.state, event.title, event.category)
    await work.append(at, events)
    cut = domain.split_of(at.state, PROCESS.fold(events, at.state))
    if cut is not None:
        await work.send(cut)


async def on_session_opened(event: SessionOpened, work: Work) -> None:
    """Plan the recording and, where video is wanted, ask the downloader for it, in one transaction."""
    at = await work.load(PROCESS, event.session_id)
    effective = await store.effective(work.connection, event.streamer_id)
    if effective is None:
        # A check that was on its way when the streamer was stopped: undo what it found.
        await work.send(CloseSession(streamer_id=event.streamer_id, reason=EndReason.STOPPED))
        return
    events = domain.decide_plan(at.state, event, effective, new_key())
    await work.append(at, events)
    await store.set_session(work.connection, event.streamer_id, event.session_id)
    planned = PROCESS.fold(events, at.state)
    if planned.running and any(isinstance(one, RecordingPlanned) for one in events):
        await work.send(domain.start_of(planned))


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


async def _process_of(streamer_id: str, work: Work) -> Loaded[Process] | None:
    """The process of a streamer's open session, if there is one."""
    session_id = await store.session_of(await work.begin(), streamer_id)
    return await work.load(PROCESS, session_id) if session_id else None


async def _reconfigure(at: Loaded[Process], effective: Effective, work: Work) -> None:
    """Go on with a new configuration, also in the recording that runs."""
    events = domain.decide_reconfigure(at.state, effective)
    await work.append(at, events)
    if events and at.state.running:
        await work.send(ReconfigureRecording(recording_id=at.state.running, effective=effective))


def handlers() -> Handlers:
    """The registry of this service."""
    registry = Handlers("scheduler")
    registry.event(StreamerResolved)(on_streamer_resolved)
    registry.event(StreamerRemoved)(on_streamer_removed)
    registry.event(ChannelTitleChanged)(on_title_changed)
    registry.event(ChannelWentLive)(on_title_changed)
    registry.event(SessionOpened)(on_session_opened)
    registry.event(SessionClosed)(on_session_closed)
    registry.event(RecordingEnded)(on_recording_ended)
    return registry

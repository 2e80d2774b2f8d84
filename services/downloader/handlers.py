"""What the downloader reacts to."""

from __future__ import annotations

from datetime import UTC, datetime

from chassis.handlers import Handlers
from chassis.leases import prioritise
from chassis.work import Work
from contracts.downloader import CutRecording, ReconfigureRecording, SetSlots, StartRecording, StopRecording
from contracts.message import Event

from services.downloader import domain, store
from services.downloader.domain import RECORDING
from services.downloader.limits import PRIORITIES, SLOTS, decide_slots

KIND = "recording"
"""The kind of lease a recording runs under."""


async def start_recording(command: StartRecording, work: Work) -> None:
    """Offer a recording to whichever replica has a free slot."""
    at = await work.load(RECORDING, command.recording_id)
    events = domain.decide_start(at.state, command)
    await work.append(at, events)
    await store.follow(work.connection, events)
    if events and not RECORDING.fold(events, at.state).ended:
        delay_s = domain.start_delay_s(command.not_before, datetime.now(UTC))
        priority = PRIORITIES[command.effective.priority]
        await work.offer(KIND, f"{KIND}:{command.recording_id}", delay_s=delay_s, priority=priority)


async def stop_recording(command: StopRecording, work: Work) -> None:
    """Ask the owner of a recording to stop, or see to it that it never begins."""
    at = await work.load(RECORDING, command.recording_id)
    events: list[Event] = domain.decide_stop(at.state, command)
    await work.append(at, events)
    await store.follow(work.connection, events)


async def cut_recording(command: CutRecording, work: Work) -> None:
    """Ask the owner of a recording for a new file."""
    at = await work.load(RECORDING, command.recording_id)
    events: list[Event] = domain.decide_cut(at.state, command)
    await work.append(at, events)
    await store.follow(work.connection, events)


async def reconfigure_recording(command: ReconfigureRecording, work: Work) -> None:
    """Keep the new configuration of a recording for whoever records it."""
    at = await work.load(RECORDING, command.recording_id)
    events = domain.decide_reconfigure(at.state, command)
    await work.append(at, events)
    await store.follow(work.connection, events)
    if events:
        name = f"{KIND}:{command.recording_id}"
        await prioritise(work.connection, name, PRIORITIES[command.effective.priority])


async def set_slots(command: SetSlots, work: Work) -> None:
    """Keep how many recordings may run at a time, for the replicas to read."""
    at = await work.load(SLOTS, command.scope)
    events = decide_slots(at.state, command)
    await work.append(at, events)
    await store.follow(work.connection, events)


def handlers() -> Handlers:
    """The registry of this service."""
    registry = Handlers("downloader")
    registry.command(StartRecording)(start_recording)
    registry.command(StopRecording)(stop_recording)
    registry.command(CutRecording)(cut_recording)
    registry.command(ReconfigureRecording)(reconfigure_recording)
    registry.command(SetSlots)(set_slots)
    return registry

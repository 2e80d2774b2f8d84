"""What the downloader reacts to."""

from __future__ import annotations

from datetime import UTC, datetime

from chassis.handlers import Handlers
from chassis.work import Work
from contracts.downloader import CutRecording, ReconfigureRecording, StartRecording, StopRecording
from contracts.message import Event

from services.downloader import domain, store
from services.downloader.domain import RECORDING

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
        await work.offer(KIND, f"{KIND}:{command.recording_id}", delay_s=delay_s)


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


def handlers() -> Handlers:
    """The registry of this service."""
    registry = Handlers("downloader")
    registry.command(StartRecording)(start_recording)
    registry.command(StopRecording)(stop_recording)
    registry.command(CutRecording)(cut_recording)
    registry.command(ReconfigureRecording)(reconfigure_recording)
    return registry

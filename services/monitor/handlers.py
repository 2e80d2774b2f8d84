"""What the monitor reacts to."""

from __future__ import annotations

from datetime import UTC, datetime

from chassis.handlers import Handlers
from chassis.ids import new_key
from chassis.work import Work
from contracts.monitor import CheckChannel, CloseSession

from services.monitor import domain, store
from services.monitor.adapters.platform import ChannelNotFound, Probe, ProbeError, UnknownSite
from services.monitor.domain import CHANNEL, SESSION, Observation
from services.monitor.probing import Prober


async def check_channel(command: CheckChannel, work: Work) -> None:
    """Ask the platform, then append what changed. The transaction begins only after the answer."""
    seen = await _see(command, work)
    if seen is None:
        return
    channel = await work.load(CHANNEL, command.streamer_id)
    open_id = await store.open_session(work.connection, command.streamer_id)
    session = await work.load(SESSION, open_id or new_key())
    events = domain.decide_session(
        session.state,
        seen,
        filters=command.filters,
        grace_s=command.offline_grace_s,
        new_id=session.stream.removeprefix("session-"),
    )
    await work.append(channel, domain.decide_channel(channel.state, seen))
    await work.append(session, events)
    await store.follow(work.connection, events)


async def close_session(command: CloseSession, work: Work) -> None:
    """End the open session of a streamer, if there is one."""
    open_id = await store.open_session(await work.begin(), command.streamer_id)
    if open_id is None:
        return
    session = await work.load(SESSION, open_id)
    events = domain.decide_close(session.state, command.reason)
    await work.append(session, events)
    await store.follow(work.connection, events)


def handlers() -> Handlers:
    """The registry of this service."""
    registry = Handlers("monitor")
    registry.direct(CheckChannel)(check_channel)
    registry.command(CloseSession)(close_session)
    return registry


async def _see(command: CheckChannel, work: Work) -> Observation | None:
    """What the platform says; ``None`` where it says nothing, which is noted."""
    prober = work.resource(Prober)
    received = prober.disturbs(command) and not command.broken and await _is_received(command, work)
    try:
        _check_filters(command)
        return _observation(command, await prober.probe(command, received=received))
    except ChannelNotFound as error:
        return _silence(command, gone=str(error)[:500])
    except ProbeError as error:
        channel = await work.load(CHANNEL, command.streamer_id)
        if isinstance(error, UnknownSite) and channel.state.known:
            # Many pages show their player only while something is on air: where a broadcast was once, none is an answer.
            return _silence(command)
        failed = domain.decide_failure(channel.state, command.streamer_id, str(error)[:500], fatal=error.fatal)
        await work.append(channel, failed)
        return None


def _check_filters(command: CheckChannel) -> None:
    try:
        domain.check_zones(command.filters)
    except ValueError as error:
        raise ProbeError(str(error)) from None


def _silence(command: CheckChannel, *, gone: str = "") -> Observation:
    return Observation(streamer_id=command.streamer_id, live=False, at=datetime.now(UTC), url=command.url, gone=gone)


async def _is_received(command: CheckChannel, work: Work) -> bool:
    """Whether, as far as is known here, the channel's media is being recorded: its session is open and was not suspended."""
    open_id = await store.open_session(await work.begin(), command.streamer_id)
    session = await work.load(SESSION, open_id) if open_id else None
    await work.commit()  # no transaction is open while the platform is asked
    return session is not None and session.state.suspended_at is None


def _observation(command: CheckChannel, probe: Probe) -> Observation:
    return Observation(
        streamer_id=command.streamer_id,
        live=probe.live,
        at=datetime.now(UTC),
        title=probe.title[:500],
        category=probe.category[:200],
        streamer_name=command.name or probe.streamer_name,
        url=command.url,
        platform=probe.platform,
        chat=probe.chat,
    )

"""Channels and sessions: what a check means, given what was known before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from contracts.aggregate import Aggregate
from contracts.message import Event
from contracts.monitor import (
    ChannelFailed,
    ChannelRecovered,
    ChannelTitleChanged,
    ChannelWentLive,
    ChannelWentOffline,
    SessionClosed,
    SessionOpened,
    SessionResumed,
    SessionSuspended,
)
from contracts.values import Chat, EndReason, Filters, TimeWindow


@dataclass(frozen=True, slots=True)
class Channel:
    """What the checks of one streamer have told so far. ``known``: a broadcast was seen there once."""

    live: bool = False
    known: bool = False
    title: str = ""
    category: str = ""
    failing: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """One broadcast."""

    id: str = ""
    streamer_id: str = ""
    suspended_at: datetime | None = None
    closed: bool = False

    @property
    def open(self) -> bool:
        """Begun and not over."""
        return bool(self.id) and not self.closed


@dataclass(frozen=True, slots=True)
class Observation:
    """What one check saw at ``at`` (aware). ``gone``: the platform's words when it says that there is no such channel (any more)."""

    streamer_id: str
    live: bool
    at: datetime
    title: str = ""
    category: str = ""
    streamer_name: str = ""
    url: str = ""
    platform: str = ""
    chat: Chat | None = None
    gone: str = ""


def evolve_channel(state: Channel, event: Event) -> Channel:
    """The channel after an event."""
    match event:
        case ChannelWentLive() | ChannelTitleChanged():
            return replace(state, live=True, known=True, title=event.title, category=event.category)
        case ChannelWentOffline():
            return replace(state, live=False)
        case ChannelFailed():
            return replace(state, failing=True)
        case ChannelRecovered():
            return replace(state, failing=False)
    return state


def evolve_session(state: Session, event: Event) -> Session:
    """The session after an event."""
    match event:
        case SessionOpened():
            return Session(event.session_id, event.streamer_id)
        case SessionSuspended():
            return replace(state, suspended_at=datetime.fromisoformat(event.suspended_at))
        case SessionResumed():
            return replace(state, suspended_at=None)
        case SessionClosed():
            return replace(state, closed=True)
    return state


CHANNEL = Aggregate("channel", Channel(), evolve_channel)
SESSION = Aggregate("session", Session(), evolve_session)
AGGREGATES = (CHANNEL, SESSION)


def decide_channel(state: Channel, seen: Observation) -> list[Event]:
    """The edges a check reveals: never an event for a check that saw the same as the last one."""
    if seen.gone:
        failed = decide_failure(state, seen.streamer_id, seen.gone, fatal=True)
        return [ChannelWentOffline(streamer_id=seen.streamer_id), *failed] if state.live else failed
    events: list[Event] = [ChannelRecovered(streamer_id=seen.streamer_id)] if state.failing else []
    if seen.live and not state.live:
        events.append(ChannelWentLive(streamer_id=seen.streamer_id, title=seen.title, category=seen.category))
    elif seen.live and (seen.title, seen.category) != (state.title, state.category):
        events.append(ChannelTitleChanged(streamer_id=seen.streamer_id, title=seen.title, category=seen.category))
    elif state.live and not seen.live:
        events.append(ChannelWentOffline(streamer_id=seen.streamer_id))
    return events


def decide_failure(state: Channel, streamer_id: str, error: str, *, fatal: bool) -> list[Event]:
    """A check failed; said once until one succeeds."""
    return [] if state.failing else [ChannelFailed(streamer_id=streamer_id, error=error, fatal=fatal)]


def decide_session(state: Session, seen: Observation, *, filters: Filters, grace_s: float, new_id: str) -> list[Event]:
    """Open, suspend, resume or close. A suspended session closes only when a check after ``grace_s`` still sees it offline."""
    wanted = seen.live and passes(filters, seen)
    if not state.open:
        return [_opened(seen, new_id)] if wanted else []
    if wanted:
        return [SessionResumed(session_id=state.id, streamer_id=state.streamer_id)] if state.suspended_at else []
    if seen.live:
        return decide_close(state, EndReason.FILTERED)
    if grace_s <= 0 or (state.suspended_at and seen.at - state.suspended_at >= timedelta(seconds=grace_s)):
        return decide_close(state, EndReason.OFFLINE)
    if state.suspended_at:
        return []
    return [
        SessionSuspended(
            session_id=state.id, streamer_id=state.streamer_id, suspended_at=seen.at.isoformat(), grace_s=grace_s
        )
    ]


def decide_close(state: Session, reason: EndReason) -> list[Event]:
    """End an open session at once."""
    return [SessionClosed(session_id=state.id, streamer_id=state.streamer_id, reason=reason)] if state.open else []


def passes(filters: Filters, seen: Observation) -> bool:
    """Whether a live channel is to be recorded: every kind of filter must admit it."""
    title = seen.title.casefold()
    if filters.title_includes and not any(word.casefold() in title for word in filters.title_includes):
        return False
    if any(word.casefold() in title for word in filters.title_excludes):
        return False
    if filters.categories and seen.category.casefold() not in {one.casefold() for one in filters.categories}:
        return False
    return not filters.windows or any(_within(window, seen.at) for window in filters.windows)


def check_zones(filters: Filters) -> None:
    """Raise ValueError when this machine does not know the time zone of a window: nobody here can tell then whether it is open."""
    for window in filters.windows:
        try:
            ZoneInfo(window.timezone)
        except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
            raise ValueError(f"a window of the filter is in an unknown time zone: {window.timezone[:100]!r}") from None


def _within(window: TimeWindow, at: datetime) -> bool:
    local = at.astimezone(ZoneInfo(window.timezone))
    now, today = local.time().replace(tzinfo=None), local.weekday()
    if window.start <= window.end:
        return today in window.days and window.start <= now < window.end
    # Over midnight: the part after it belongs to the day before.
    return (today in window.days and now >= window.start) or (
        (today - 1) % 7 in window.days and time.min <= now < window.end
    )


def _opened(seen: Observation, new_id: str) -> SessionOpened:
    return SessionOpened(
        session_id=new_id,
        streamer_id=seen.streamer_id,
        streamer_name=seen.streamer_name,
        url=seen.url,
        platform=seen.platform,
        title=seen.title,
        category=seen.category,
        started_at=seen.at.astimezone(UTC).isoformat(),
        chat=seen.chat,
    )

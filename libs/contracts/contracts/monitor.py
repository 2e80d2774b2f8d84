"""What the monitor owns: the state of channels and the sessions (broadcasts) it sees on them."""

from __future__ import annotations

from contracts.message import Command, Event, Signal
from contracts.values import Chat, EndReason, EngineName, Filters, Id, Network, Source, Url


class CheckChannel(Command, type="monitor.check_channel.v1", key="streamer_id"):
    """Ask the platform whether a channel is live. Work, not history: sent directly, never stored, repeated by the next tick.

    ``network``: how the platform is reached, and with whose account. What is secret about it is asked of its owner.
    ``engine``: what the channel is recorded with; yt-dlp then also says whether there is anything to record.
    ``broken``: whoever asks was receiving the media, or wants to, and does not.
    """

    streamer_id: Id
    url: Url
    name: str
    offline_grace_s: float
    quality: str = "best"
    protocol: str = "any"
    filters: Filters = Filters()
    network: Network = Network()
    engine: EngineName = EngineName.NATIVE
    broken: bool = False


class CloseSession(Command, type="monitor.close_session.v1", key="streamer_id"):
    """End the open session of a streamer at once, without hysteresis: it was stopped or removed."""

    streamer_id: Id
    reason: EndReason


class ChannelWentLive(Event, type="monitor.channel.went_live.v1", key="streamer_id"):
    """The platform says the channel is live, and it was not at the check before."""

    streamer_id: Id
    title: str
    category: str


class ChannelWentOffline(Event, type="monitor.channel.went_offline.v1", key="streamer_id"):
    """The platform says the channel is not live any more."""

    streamer_id: Id


class ChannelTitleChanged(Event, type="monitor.channel.title_changed.v1", key="streamer_id"):
    """Title or category of a live channel changed."""

    streamer_id: Id
    title: str
    category: str


class ChannelFailed(Event, type="monitor.channel.failed.v1", key="streamer_id"):
    """Checks of a channel began to fail. Appended at the edge, not for each failure; ``fatal`` means retrying will not help."""

    streamer_id: Id
    error: str
    fatal: bool


class ChannelRecovered(Event, type="monitor.channel.recovered.v1", key="streamer_id"):
    """Checks of a channel work again."""

    streamer_id: Id


class SessionOpened(Event, type="monitor.session.opened.v1", key="session_id"):
    """A broadcast that passes the filters began. First event of its stream."""

    session_id: Id
    streamer_id: Id
    streamer_name: str
    url: Url
    platform: str
    title: str
    category: str
    started_at: str
    chat: Chat | None = None


class SessionSuspended(Event, type="monitor.session.suspended.v1", key="session_id"):
    """The channel went offline at ``suspended_at``; the session stays open for ``grace_s`` in case it comes back."""

    session_id: Id
    streamer_id: Id
    suspended_at: str
    grace_s: float


class SessionResumed(Event, type="monitor.session.resumed.v1", key="session_id"):
    """The channel came back within the grace time: the same session goes on."""

    session_id: Id
    streamer_id: Id


class SessionClosed(Event, type="monitor.session.closed.v1", key="session_id"):
    """The broadcast is over. Last event of its stream."""

    session_id: Id
    streamer_id: Id
    reason: EndReason


class SourcesResolved(Signal, type="monitor.sources.v1", key="streamer_id"):
    """Where the media of a live channel can be fetched right now. Addresses expire and may be signed, so they are never an event."""

    streamer_id: Id
    live: bool
    sources: tuple[Source, ...]
    resolved_at: str
    error: str = ""

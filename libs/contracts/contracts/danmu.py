"""What the danmu (chat) service owns: the chat of a session and its files."""

from __future__ import annotations

from contracts.message import Event
from contracts.values import Artifact, EndReason, Id


class ChatStarted(Event, type="danmu.chat.started.v1", key="session_id"):
    """A replica claimed the chat of a session under a lease and connects. Appended again with a larger epoch after a hand-over."""

    session_id: Id
    streamer_id: Id
    chat_kind: str
    worker: str
    epoch: int


class ChatDisconnected(Event, type="danmu.chat.disconnected.v1", key="session_id"):
    """The chat connection was lost; it is being made again."""

    session_id: Id
    streamer_id: Id
    cause: str


class ChatReconnected(Event, type="danmu.chat.reconnected.v1", key="session_id"):
    """The chat connection stands again after ``outage_s``."""

    session_id: Id
    streamer_id: Id
    outage_s: float


class ChatFileCompleted(Event, type="danmu.chat.file_completed.v1", key="session_id"):
    """The chat of one video segment is finished: a log (the source of truth) and its XML."""

    session_id: Id
    streamer_id: Id
    recording_id: Id
    index: int
    log: Artifact
    xml: Artifact
    lines: int
    started_at: str


class ChatEnded(Event, type="danmu.chat.ended.v1", key="session_id"):
    """No more chat will be written for this session. Last event of its stream."""

    session_id: Id
    streamer_id: Id
    reason: EndReason
    files: int
    lines: int

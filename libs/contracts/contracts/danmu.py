"""What the danmu (chat) service owns: the chat of a session and its files."""

from __future__ import annotations

from contracts.message import Event, Signal, Value
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


class ChatUnreachable(Event, type="danmu.chat.unreachable.v1", key="session_id"):
    """The chat cannot be joined for a long time now (``outage_s``): somebody may want to look; ``cause`` is that of the last attempt."""

    session_id: Id
    streamer_id: Id
    outage_s: float
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


class Talker(Value):
    """Somebody who spoke a lot. The true number of messages lies between ``messages - error`` and ``messages``."""

    uid: str
    user: str
    messages: int
    error: int


class Word(Value):
    """A word that many messages hold; counted like :class:`Talker`."""

    word: str
    messages: int
    error: int


class Gift(Value):
    """What was given often; counted like :class:`Talker`."""

    gift: str
    count: int
    error: int


class Paid(Value):
    """What was paid in one currency (gifts, super chats, memberships). ``amount``: thousandths of it."""

    currency: str
    amount: int
    payments: int


class Highlight(Value):
    """A moment at which much more was said than usual. ``at_ms``: unix milliseconds."""

    at_ms: int
    messages: int
    times_usual: float


class Statistics(Value):
    """What a chat was like. ``rate``: spoken messages per ``bucket_s`` from ``rate_from_ms`` on; ``chatters``: about how many people spoke."""

    messages: int
    kinds: dict[str, int]
    first_ms: int
    last_ms: int
    chatters: int
    rate_from_ms: int
    bucket_s: int
    rate: tuple[int, ...]
    talkers: tuple[Talker, ...]
    words: tuple[Word, ...]
    gifts: tuple[Gift, ...]
    paid: tuple[Paid, ...]
    highlights: tuple[Highlight, ...]


class ChatSummarised(Event, type="danmu.chat.summarised.v1", key="session_id"):
    """The chat of a session has ended and this is what it was like: exactly the messages of its files. Precedes ``chat.ended``."""

    session_id: Id
    streamer_id: Id
    statistics: Statistics


class ChatPulse(Signal, type="danmu.pulse.v1", key="session_id"):
    """What the running chat of a session is like so far, every few seconds while something is said."""

    session_id: Id
    streamer_id: Id
    statistics: Statistics


class ChatEnded(Event, type="danmu.chat.ended.v1", key="session_id"):
    """No more chat will be written for this session. Last event of its stream. ``frames``: the files of raw frames, where they were kept."""

    session_id: Id
    streamer_id: Id
    reason: EndReason
    files: int
    lines: int
    frames: tuple[Artifact, ...] = ()

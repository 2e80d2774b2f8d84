"""What a viewer, or the platform, said: one immutable type for every platform, and its JSON-lines form.

`ChatMessage` is a named tuple because chat is the highest-volume value of the service: building one costs about a third
of a frozen dataclass of the same size.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple, TypeVar

MAX_LINE_BYTES: Final = 1 << 20
"""A longer JSON line was not written by this service."""

WHITE: Final = 0xFFFFFF


class MessageKind(StrEnum):
    """What a message is, over all platforms."""

    # Kinds are dictionary keys once or twice per message; Enum's own hash is a Python function.
    __hash__ = str.__hash__

    CHAT = "chat"
    GIFT = "gift"
    SUPER_CHAT = "super_chat"
    MEMBERSHIP = "membership"
    JOIN = "join"
    FOLLOW = "follow"
    SYSTEM = "system"
    MODERATION = "moderation"
    ROOM_CHANGE = "room_change"
    STREAM_CLOSED = "stream_closed"


class InvalidLine(ValueError):
    """A line of a chat log that is no chat message."""


class Badge(NamedTuple):
    """What a platform shows beside a name. `kind`: ``fan``, ``member``, ``moderator``, ``grade`` (of the account); `level` 0 = none."""

    kind: str
    name: str = ""
    level: int = 0


class Emote(NamedTuple):
    """A picture that stands for `name` inside the text.

    `at`: where, in code points from the beginning of the text, as far as the platform tells. Where the text does not hold the name, the
    picture is shown before the character there. Without places every `name` in the text is meant.
    """

    name: str
    url: str = ""
    id: str = ""
    at: tuple[int, ...] = ()


class ChatMessage(NamedTuple):
    """One thing that happened in a chat. Times are unix milliseconds, 0 = the platform did not say.

    - `id`: the platform's id, for deduplication; empty where there is none.
    - `quantity`: how many gifts or months. `price`: what was paid in total, in thousandths of `currency`; 0 = free.
    - `currency`: ISO 4217, or in lower case a platform's own unit that has no one rate of exchange.
    - `mode`, `size`: how Bilibili players show it (1 scrolls, 4 bottom, 5 top; 25 is the normal size).
    - `duration_s`: how long a super chat stays on screen. `level`: the tier of a membership, 1 is the highest.
    - `action`: what a moderation, system or stream_closed message is about; `target`: the message or user it concerns.
    - `category`, `parent_category`: of a room change, whose new title is the `text`.
    """

    kind: MessageKind
    received_at: int
    id: str = ""
    sent_at: int = 0
    user: str = ""
    uid: str = ""
    text: str = ""
    colour: int = WHITE
    mode: int = 1
    size: int = 25
    price: int = 0
    currency: str = ""
    quantity: int = 1
    gift: str = ""
    duration_s: int = 0
    level: int = 0
    action: str = ""
    target: str = ""
    category: str = ""
    parent_category: str = ""
    badges: tuple[Badge, ...] = ()
    emotes: tuple[Emote, ...] = ()


T = TypeVar("T")

_DEFAULTS: Final[dict[str, Any]] = ChatMessage._field_defaults
_FIELDS: Final = ChatMessage._fields
_RARE_SLICE: Final = slice(_FIELDS.index("mode"), _FIELDS.index("badges"))
_RARE_DEFAULTS: Final = tuple(_DEFAULTS[name] for name in _FIELDS[_RARE_SLICE])
_RARE: Final = tuple((_FIELDS.index(name), name, _DEFAULTS[name]) for name in _FIELDS[_RARE_SLICE])
_TEXT_FIELDS: Final = frozenset(name for name, default in _DEFAULTS.items() if isinstance(default, str))
_NUMBER_FIELDS: Final = frozenset(name for name, default in _DEFAULTS.items() if type(default) is int)

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_encode_ascii: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_KINDS: Final = {str(kind): kind for kind in MessageKind}


def encode_line(message: ChatMessage) -> bytes:
    """One line of JSON with its line end: what differs from the defaults, in UTF-8.

    Text that UTF-8 cannot hold (half of a surrogate pair) makes this one line ASCII with escapes, which reads the same.
    """
    line = _line(message)
    try:
        return line.encode()
    except UnicodeEncodeError:
        return (_encode_ascii(json.loads(line)) + "\n").encode()


def _line(message: ChatMessage) -> str:
    """Spelled out for the fields of nearly every message: a third of the time of building a dict for the encoder."""
    quote = encode_basestring
    parts = [
        f'{{"kind":"{message.kind}","received_at":{message.received_at},"sent_at":{message.sent_at},"id":{quote(message.id)}'
        f',"user":{quote(message.user)},"uid":{quote(message.uid)},"text":{quote(message.text)}'
    ]
    if message.colour != WHITE:
        parts.append(f',"colour":{message.colour}')
    if message.badges:
        parts.append(_badges(message.badges))
    if message.emotes:
        parts.append(_emotes(message.emotes))
    if message[_RARE_SLICE] != _RARE_DEFAULTS:
        parts.extend([f',"{name}":{_encode(message[i])}' for i, name, default in _RARE if message[i] != default])
    parts.append("}\n")
    return "".join(parts)


@lru_cache(maxsize=2048)
def _badges(badges: tuple[Badge, ...]) -> str:
    return f',"badges":{_encode(badges)}'


def _emotes(emotes: tuple[Emote, ...]) -> str:
    """The places stand beside the pictures: a reader that does not know them must not stumble over them."""
    pictures = f',"emotes":{_encode([emote[:3] for emote in emotes])}'
    places = [emote.at for emote in emotes]
    return f'{pictures},"emotes_at":{_encode(places)}' if any(places) else pictures


def decode_line(line: bytes | str) -> ChatMessage:
    """The message of one JSON line; fields that this version does not know are ignored.

    Raises InvalidLine.
    """
    if len(line) > MAX_LINE_BYTES:
        raise InvalidLine("line too long")
    try:
        data = json.loads(line)
        if not isinstance(data, dict):
            raise InvalidLine("not a JSON object")
        return _message(data)
    except InvalidLine:
        raise
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise InvalidLine(f"not a chat message: {type(error).__name__}") from error


def _message(data: dict[str, Any]) -> ChatMessage:
    values: dict[str, Any] = {}
    for name, value in data.items():
        if name in _TEXT_FIELDS:
            values[name] = _typed(name, value, str)
        elif name in _NUMBER_FIELDS:
            values[name] = _typed(name, value, int)
    return ChatMessage(
        kind=_KINDS[data["kind"]],
        received_at=_typed("received_at", data["received_at"], int),
        badges=tuple(Badge(str(kind), str(name), int(level)) for kind, name, level in data.get("badges", ())),
        emotes=_emotes_of(data.get("emotes", ()), data.get("emotes_at", ())),
        **values,
    )


def _emotes_of(pictures: Sequence[Any], places: Sequence[Any]) -> tuple[Emote, ...]:
    found = [Emote(str(name), str(url), str(key)) for name, url, key in pictures]
    for index, at in enumerate(places):
        found[index] = found[index]._replace(at=tuple([_typed("emotes_at", one, int) for one in at]))
    return tuple(found)


def _typed(name: str, value: object, kind: type[T]) -> T:
    if type(value) is not kind:
        raise InvalidLine(f"{name} is not {kind.__name__}")
    return value

"""Niconico's comment server ("NDGR"), as pure code: protobuf messages over endless HTTP answers, each behind its length.

``GET <viewUri>?at=now`` answers with ``ChunkedEntry``: ``segment`` (1: comments of about 16 s, behind an address of its own),
``backward`` (2: the archive), ``previous`` (3: segments just gone) and ``next`` (4: the value of ``at`` for the next request).
The address of a segment answers with ``ChunkedMessage`` until the segment is over. Each is preceded by its length as a
varint. Field numbers: the public schema ``n-air-app/nicolive-comment-protobuf`` (payload, message, state, atoms,
notifications); the values of named colours: Niconico's list of comment commands; one point is one yen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from services.danmu.adapters import protobuf
from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.messages import WHITE, Badge, ChatMessage, MessageKind, poll
from services.danmu.adapters.protobuf import Fields, InvalidMessage
from services.danmu.adapters.recent import BacklogCodec

MAX_MESSAGE_BYTES: Final = 1 << 20
MAX_BUFFER_BYTES: Final = 4 << 20
MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
MAX_URI: Final = 4096
MAX_ANSWERS: Final = 16

_COLOURS: Final = (
    0xFFFFFF, 0xFF0000, 0xFF8080, 0xFFC000, 0xFFFF00, 0x00FF00, 0x00FFFF, 0x0000FF, 0xC000FF, 0x000000,
    0xCCCC99, 0xCC0033, 0xFF33CC, 0xFF6600, 0x999900, 0x00CC66, 0x00CCCC, 0x3399FF, 0x6633CC, 0x666666,
)  # fmt: skip
_MODES: Final = (1, 4, 5)
"""By ``Pos``: naka scrolls, shita stands at the bottom, ue at the top."""
_SIZES: Final = (25, 18, 36)
"""By ``Size``: medium, small, big; in the sizes of Bilibili's players."""
_NOTICES: Final = {
    1: "ichiba", 2: "quote", 3: "emotion", 4: "cruise", 5: "program_extended", 6: "ranking_in", 7: "visited", 8: "ranking",
}  # fmt: skip
_NOTICES_V2: Final = {
    1: (MessageKind.SYSTEM, "ichiba"),
    2: (MessageKind.SYSTEM, "emotion"),
    3: (MessageKind.SYSTEM, "cruise"),
    4: (MessageKind.SYSTEM, "program_extended"),
    5: (MessageKind.SYSTEM, "ranking_in"),
    6: (MessageKind.SYSTEM, "visited"),
    7: (MessageKind.MEMBERSHIP, "supporter"),
    8: (MessageKind.SYSTEM, "level_up"),
    9: (MessageKind.FOLLOW, ""),
}
_POINTS: Final = re.compile(r"(\d{1,9})pt")
_INT64: Final = 1 << 63


class Entry(NamedTuple):
    """One entry of the view: a segment's address (`kind` "segment" or "previous"), or where to go on ("next": `at`)."""

    kind: str
    uri: str = ""
    at: int = 0


class LengthDelimited:
    """Cuts a stream of bytes into messages. Raises ValueError for a message beyond the limit: the stream is of no use then."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are complete now."""
        self._buffer += data
        found = []
        at = 0
        while (cut := self._next(at)) is not None:
            start, at = cut
            found.append(bytes(self._buffer[start:at]))
        del self._buffer[:at]
        if len(self._buffer) > MAX_BUFFER_BYTES:
            raise ValueError("too much without a whole message")
        return found

    def _next(self, at: int) -> tuple[int, int] | None:
        size = 0
        for index in range(5):
            if at + index >= len(self._buffer):
                return None
            byte = self._buffer[at + index]
            size |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if size > MAX_MESSAGE_BYTES:
                    raise ValueError("a message beyond the limit")
                start = at + index + 1
                return (start, start + size) if start + size <= len(self._buffer) else None
        raise ValueError("a length beyond the limit")


def parse_entry(data: bytes) -> Entry | None:
    """One `ChunkedEntry`; None for the archive, and for what is broken."""
    try:
        fields = protobuf.parse(data)
        for number, kind in ((1, "segment"), (3, "previous")):
            for segment in protobuf.messages(fields, number)[-1:]:
                return Entry(kind, protobuf.text(segment, 3)[:MAX_URI])
        for ready in protobuf.messages(fields, 4)[-1:]:
            return Entry("next", at=_signed(protobuf.integer(ready, 1)))
    except InvalidMessage:
        pass
    return None


class NdgrCodec(BacklogCodec):
    """The codec of all segments of a programme; `seen` keeps what a reconnection repeats from being told twice."""

    def heartbeat(self) -> None:
        """None: an answer is only read."""

    def feed(self, frame: bytes) -> Decoded:
        """One `ChunkedMessage`. Never raises: what is broken or unknown is counted and left out."""
        decoded = Decoded()
        if len(frame) > MAX_MESSAGE_BYTES:
            self.counters.oversized += 1
            return decoded
        try:
            self._chunk(protobuf.parse(frame), decoded)
        except InvalidMessage:
            self.counters.malformed += 1
        return decoded

    def _chunk(self, fields: Fields, decoded: Decoded) -> None:
        message_id, sent_at = _meta(fields)
        if message_id and not self._seen.add(message_id):
            return
        now = self._seen.received_at(sent_at, self._clock())
        bases = [*_messages(fields, now), *self._state(fields, now, decoded)]
        decoded.messages += [one._replace(id=message_id, sent_at=sent_at) for one in bases]
        if not bases and decoded.popularity is None:
            self.counters.ignore("signal" if 5 in fields else "payload")

    def _state(self, fields: Fields, now: int, decoded: Decoded) -> Iterator[ChatMessage]:
        """``NicoliveState``: what is true from now on."""
        for state in protobuf.messages(fields, 4)[-1:]:
            for statistics in protobuf.messages(state, 1)[-1:]:
                decoded.popularity = max(_signed(protobuf.integer(statistics, 1)), 0)
            for asked in protobuf.messages(state, 2)[-1:]:
                yield from _questionnaire(asked, now)
            for marquee in protobuf.messages(state, 4)[-1:]:
                yield from _operator(marquee, now)
            for lock in protobuf.messages(state, 5)[-1:]:
                action = "silence_on" if protobuf.integer(lock, 1) else "silence_off"
                yield ChatMessage(MessageKind.MODERATION, now, action=action)
            for status in protobuf.messages(state, 9)[-1:]:
                if protobuf.integer(status, 1) == 1:
                    yield ChatMessage(MessageKind.STREAM_CLOSED, now, action="ended")


def _meta(fields: Fields) -> tuple[str, int]:
    """Id and time of a message: seconds and nanoseconds."""
    for meta in protobuf.messages(fields, 1)[-1:]:
        for at in protobuf.messages(meta, 2)[-1:]:
            millis = _signed(protobuf.integer(at, 1)) * 1000 + _signed(protobuf.integer(at, 2)) // 1_000_000
            return protobuf.text(meta, 1)[:MAX_NAME], millis if 0 < millis < _INT64 else 0
        return protobuf.text(meta, 1)[:MAX_NAME], 0
    return "", 0


def _messages(fields: Fields, now: int) -> Iterator[ChatMessage]:
    """``NicoliveMessage``: 1 and 20 (one too many for the screen) are comments."""
    for message in protobuf.messages(fields, 2)[-1:]:
        for number in (1, 20):
            for chat in protobuf.messages(message, number)[-1:]:
                yield _chat(chat, now)
        for notice in protobuf.messages(message, 7)[-1:]:
            yield from _notice(notice, now)
        for gift in protobuf.messages(message, 8)[-1:]:
            yield _gift(gift, now)
        for advert in protobuf.messages(message, 9)[-1:]:
            yield from _advert(advert, now)
        for notice in protobuf.messages(message, 23)[-1:]:
            kind, action = _NOTICES_V2.get(protobuf.integer(notice, 1), (MessageKind.SYSTEM, "notice"))
            yield ChatMessage(kind, now, text=protobuf.text(notice, 2)[:MAX_TEXT], action=action)


def _chat(chat: Fields, now: int) -> ChatMessage:
    """A comment; the sender is a number, or for the anonymous a hash that changes from programme to programme."""
    number = _signed(protobuf.integer(chat, 5))
    return _styled(
        ChatMessage(
            MessageKind.CHAT,
            now,
            user=protobuf.text(chat, 2)[:MAX_NAME],
            uid=str(number) if number > 0 else protobuf.text(chat, 6)[:MAX_NAME],
            text=protobuf.text(chat, 1)[:MAX_TEXT],
            badges=(Badge("fan", "premium"),) if protobuf.integer(chat, 4) == 1 else (),
        ),
        chat,
        7,
    )


def _operator(marquee: Fields, now: int) -> Iterator[ChatMessage]:
    """What the broadcaster, or the site, shows above the picture; an empty marquee takes it away."""
    for display in protobuf.messages(marquee, 1)[-1:]:
        for comment in protobuf.messages(display, 1)[-1:]:
            message = ChatMessage(
                MessageKind.CHAT,
                now,
                user=protobuf.text(comment, 2)[:MAX_NAME],
                text=protobuf.text(comment, 1)[:MAX_TEXT],
                action="operator",
                badges=(Badge("moderator", "operator"),),
            )
            yield _styled(message, comment, 3)


def _questionnaire(asked: Fields, now: int) -> Iterator[ChatMessage]:
    """``Enquete``: 1 question, 2 answers {1 text, 3 share in thousandths}, 3 status, 1 = viewers may answer, 2 = the result."""
    status, answers = protobuf.integer(asked, 3), protobuf.messages(asked, 2)[:MAX_ANSWERS]
    if status in (1, 2):
        texts = [protobuf.text(one, 1)[:MAX_NAME] for one in answers]
        if status == 2:
            shares = [min(max(_signed(protobuf.integer(one, 3)), 0), 1000) for one in answers]
            texts = [f"{text} {share / 10:g}%" for text, share in zip(texts, shares, strict=True)]
        yield poll(now, protobuf.text(asked, 1)[:MAX_NAME], texts, result=status == 2)


def _styled(message: ChatMessage, fields: Fields, number: int) -> ChatMessage:
    """``Modifier``: position, size, named or full colour."""
    for look in protobuf.messages(fields, number)[-1:]:
        colour = _at(_COLOURS, protobuf.integer(look, 3))
        for full in protobuf.messages(look, 4)[-1:]:
            red, green, blue = (protobuf.integer(full, one) & 0xFF for one in (1, 2, 3))
            colour = red << 16 | green << 8 | blue
        mode, size = _at(_MODES, protobuf.integer(look, 1)), _at(_SIZES, protobuf.integer(look, 2))
        return message._replace(mode=mode, size=size, colour=colour & WHITE)
    return message


def _notice(notice: Fields, now: int) -> Iterator[ChatMessage]:
    for number, action in _NOTICES.items():
        if number in notice:
            text = protobuf.text(notice, number)[:MAX_TEXT]
            yield ChatMessage(MessageKind.SYSTEM, now, text=text, action=action)


def _gift(gift: Fields, now: int) -> ChatMessage:
    points = _points(protobuf.integer(gift, 4))
    uid = _signed(protobuf.integer(gift, 2))
    return ChatMessage(
        MessageKind.GIFT,
        now,
        user=protobuf.text(gift, 3)[:MAX_NAME],
        uid=str(uid) if uid > 0 else "",
        text=protobuf.text(gift, 5)[:MAX_TEXT],
        gift=(protobuf.text(gift, 6) or protobuf.text(gift, 1))[:MAX_NAME],
        price=points * 1000,
        currency="JPY" if points else "",
    )


def _advert(advert: Fields, now: int) -> Iterator[ChatMessage]:
    """Viewers who pay to advertise the programme: version 0 has fields, version 1 a sentence and the total so far."""
    for old in protobuf.messages(advert, 1)[-1:]:
        for latest in protobuf.messages(old, 1)[-1:]:
            yield _paid_advert(now, protobuf.text(latest, 1), protobuf.text(latest, 3), protobuf.integer(latest, 2))
    for new in protobuf.messages(advert, 2)[-1:]:
        text = protobuf.text(new, 2)
        match = _POINTS.search(text[:MAX_TEXT])
        yield _paid_advert(now, "", text, int(match[1]) if match else 0)


def _paid_advert(now: int, user: str, text: str, points: int) -> ChatMessage:
    points = _points(points)
    currency = "JPY" if points else ""
    return ChatMessage(
        MessageKind.GIFT,
        now,
        user=user[:MAX_NAME],
        text=text[:MAX_TEXT],
        gift="nicoad",
        price=points * 1000,
        currency=currency,
    )


def _points(value: int) -> int:
    """Beyond a thousand million points it is no payment."""
    return value if 0 < value <= 1_000_000_000 else 0


def _at(table: tuple[int, ...], index: int) -> int:
    return table[index] if 0 <= index < len(table) else table[0]


def _signed(value: int) -> int:
    """A varint of 64 bits as the signed number it stands for."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= _INT64 else value

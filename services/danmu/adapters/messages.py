"""What drivers make of a frame, by the name they know it: the type itself belongs to the chat formats, see `media.chat.message`."""

from __future__ import annotations

from collections.abc import Iterable

from media.chat.message import (
    MAX_LINE_BYTES,
    WHITE,
    Badge,
    ChatMessage,
    Emote,
    InvalidLine,
    MessageKind,
    decode_line,
    encode_line,
)

__all__ = [
    "MAX_LINE_BYTES",
    "WHITE",
    "Badge",
    "ChatMessage",
    "Emote",
    "InvalidLine",
    "MessageKind",
    "decode_line",
    "encode_line",
    "gathered",
    "poll",
]


def gathered(pictures: Iterable[tuple[Emote, int]], limit: int) -> tuple[Emote, ...]:
    """Pictures as they follow each other in a text, each with its place: at most so many different ones, each with all its places."""
    places: dict[Emote, list[int]] = {}
    for emote, at in pictures:
        if emote in places or len(places) < limit:
            places.setdefault(emote, []).append(at)
    return tuple(emote._replace(at=tuple(found)) for emote, found in places.items())


def poll(now: int, question: str, answers: Iterable[str], *, result: bool = False) -> ChatMessage:
    """The viewers are asked something, or were: the text is the question and the answers, with their shares in a result."""
    text = " / ".join(filter(None, (question, *answers)))
    return ChatMessage(MessageKind.SYSTEM, now, text=text, action="poll_result" if result else "poll")

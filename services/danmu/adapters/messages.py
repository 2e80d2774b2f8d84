"""What drivers make of a frame, by the name they know it: the type itself belongs to the chat formats, see `media.chat.message`."""

from __future__ import annotations

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
]

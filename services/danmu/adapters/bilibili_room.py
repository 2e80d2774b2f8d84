"""What happens to a Bilibili live room, or is done to its viewers by who may, as chat messages.

Field meanings: the community reference "bilibili-API-collect", page "live/message_stream" (SUPER_CHAT_MESSAGE_DELETE, ROOM_CHANGE,
ROOM_BLOCK_MSG, ROOM_SILENT_ON, CUT_OFF, WARNING). Handlers as in `bilibili_commands`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from services.danmu.adapters.bilibili_fields import MAX_TEXT, Json, int_of, sent_at_of, text_of, uid_of
from services.danmu.adapters.messages import ChatMessage, MessageKind

Handler = Callable[[Json, int], list[ChatMessage]]

MAX_TARGETS: Final = 64


def room_change(root: Json, received_at: int) -> list[ChatMessage]:
    """ROOM_CHANGE: the streamer changed the title or moved to another area."""
    data = root["data"]
    return [
        ChatMessage(
            MessageKind.ROOM_CHANGE,
            received_at,
            text_of(root.get("msg_id")),
            sent_at_of(root),
            text=text_of(data["title"], MAX_TEXT),
            category=text_of(data.get("area_name")),
            parent_category=text_of(data.get("parent_area_name")),
        )
    ]


def _closed(action: str, reason_key: str) -> Handler:
    def closed(root: Json, received_at: int) -> list[ChatMessage]:
        reason = text_of(root.get(reason_key), MAX_TEXT)
        return [
            ChatMessage(
                MessageKind.STREAM_CLOSED,
                received_at,
                text_of(root.get("msg_id")),
                sent_at_of(root),
                text=reason,
                action=action,
            )
        ]

    return closed


def live(root: Json, received_at: int) -> list[ChatMessage]:
    """LIVE: the broadcast (re)started."""
    sent_at = sent_at_of(root, root.get("live_time"))
    return [ChatMessage(MessageKind.SYSTEM, received_at, text_of(root.get("msg_id")), sent_at, action="live")]


def _moderation(root: Json, received_at: int, action: str, **values: Any) -> ChatMessage:
    message_id = text_of(root.get("msg_id"))
    return ChatMessage(MessageKind.MODERATION, received_at, message_id, sent_at_of(root), action=action, **values)


def warning(root: Json, received_at: int) -> list[ChatMessage]:
    """WARNING: the platform's staff warns the streamer."""
    return [_moderation(root, received_at, "warn", text=text_of(root.get("msg"), MAX_TEXT))]


def muted(root: Json, received_at: int) -> list[ChatMessage]:
    """ROOM_BLOCK_MSG: a viewer may not write any more; the fields appear on both levels, sometimes only on the outer."""
    data = root.get("data") or root
    target = uid_of(data.get("uid") or root.get("uid"))
    return [_moderation(root, received_at, "mute", user=text_of(data.get("uname") or root.get("uname")), target=target)]


def silenced(root: Json, received_at: int) -> list[ChatMessage]:
    """ROOM_SILENT_ON: nobody below a ``type`` (level, medal, member) and ``level`` may write."""
    data = root["data"]
    return [
        _moderation(root, received_at, "silence_on", text=text_of(data.get("type")), level=int_of(data.get("level")))
    ]


def unsilenced(root: Json, received_at: int) -> list[ChatMessage]:
    """ROOM_SILENT_OFF."""
    return [_moderation(root, received_at, "silence_off")]


def super_chat_deleted(root: Json, received_at: int) -> list[ChatMessage]:
    """SUPER_CHAT_MESSAGE_DELETE: one message per id that was taken back."""
    ids = root["data"]["ids"][:MAX_TARGETS]
    return [_moderation(root, received_at, "delete", target=text_of(target)) for target in ids]


ROOM_HANDLERS: Final[dict[str, Handler]] = {
    "SUPER_CHAT_MESSAGE_DELETE": super_chat_deleted,
    "ROOM_CHANGE": room_change,
    "ROOM_LOCK": _closed("locked", "expire"),
    "CUT_OFF": _closed("cut_off", "msg"),
    "PREPARING": _closed("ended", "msg"),
    "LIVE": live,
    "WARNING": warning,
    "ROOM_BLOCK_MSG": muted,
    "ROOM_SILENT_ON": silenced,
    "ROOM_SILENT_OFF": unsilenced,
}

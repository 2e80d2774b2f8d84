"""Bilibili's chat wire format: frames of the WebSocket and the JSON of the messages in them.

Source of the shapes: the community's collected documentation of the live message stream (packet header of 16 bytes
big-endian; operations 2, 3, 5, 7, 8; protocol versions 0, 1, 2 = zlib, 3 = brotli) and captured messages in it.
"""

from __future__ import annotations

import json
import struct
import time
import zlib
from typing import Any

import brotli

from .options import ChatMessage

HEADER = struct.Struct(">IHHII")
HEARTBEAT, HEARTBEAT_REPLY, MESSAGE, AUTH, AUTH_REPLY = 2, 3, 5, 7, 8
PLAIN, CONTROL, ZLIB, BROTLI = 0, 1, 2, 3
_GUARDS = {1: ("总督", 19_998_000), 2: ("提督", 1_998_000), 3: ("舰长", 198_000)}
_FACE = "https://i0.hdslb.com/bfs/face/member/noface.jpg"


def frame(operation: int, body: bytes, version: int = CONTROL, sequence: int = 0) -> bytes:
    """One packet: 16-byte header and body."""
    return HEADER.pack(HEADER.size + len(body), HEADER.size, version, operation, sequence) + body


def frames_of(data: bytes) -> list[tuple[int, int, bytes]]:
    """The packets in `data` as (operation, version, body), not unpacked further; ValueError when it is malformed."""
    found: list[tuple[int, int, bytes]] = []
    at = 0
    while at < len(data):
        if len(data) - at < HEADER.size:
            raise ValueError("packet shorter than its header")
        length, header_length, version, operation, _ = HEADER.unpack_from(data, at)
        if header_length < HEADER.size or length < header_length or at + length > len(data):
            raise ValueError("packet length out of range")
        found.append((operation, version, data[at + header_length : at + length]))
        at += length
    return found


def packet_of(messages: list[dict[str, Any]], protover: int) -> bytes:
    """All messages in one packet, compressed as the client asked: 3 brotli, 2 zlib, else one plain frame each."""
    inner = b"".join(frame(MESSAGE, _json(message), PLAIN) for message in messages)
    if protover == BROTLI:
        return frame(MESSAGE, brotli.compress(inner, quality=5), BROTLI)
    if protover == ZLIB:
        return frame(MESSAGE, zlib.compress(inner), ZLIB)
    return inner


def message_of(chat: ChatMessage, number: int, sequence: int, time_ms: int) -> dict[str, Any]:
    """The JSON that the platform sends for this message in room `number`."""
    if chat.kind == "raw":
        return chat.message or {}
    if chat.kind == "super_chat":
        return _super_chat(chat, number, sequence, time_ms)
    build = {"chat": _danmu_msg, "gift": _send_gift, "guard": _guard_buy}[chat.kind]
    return build(chat, sequence, time_ms)


def live(number: int, live_key: str, live_time: int) -> dict[str, Any]:
    """LIVE: the broadcast started."""
    return {
        "cmd": "LIVE",
        "live_key": live_key,
        "voice_background": "",
        "sub_session_key": f"{live_key}sub_time:{live_time}",
        "live_platform": "pc_link",
        "live_model": 0,
        "roomid": number,
        "live_time": live_time,
        "special_types": [],
    }


def preparing(number: int) -> dict[str, Any]:
    """PREPARING: the broadcast ended (the room number is a string here, as on the real platform)."""
    return {"cmd": "PREPARING", "msg_id": str(time.time_ns()), "roomid": str(number), "send_time": _now_ms()}


def room_change(title: str, category: str, parent_category: str, live_key: str) -> dict[str, Any]:
    """ROOM_CHANGE: title or category changed."""
    return {
        "cmd": "ROOM_CHANGE",
        "data": {
            "title": title,
            "area_id": area_id(category),
            "parent_area_id": area_id(parent_category),
            "area_name": category,
            "parent_area_name": parent_category,
            "live_key": live_key,
            "sub_session_key": f"{live_key}sub_time:{int(time.time())}",
        },
    }


def area_id(name: str) -> int:
    """A stable number for a category's name."""
    return zlib.crc32(name.encode()) % 1000 + 1


def _danmu_msg(chat: ChatMessage, sequence: int, time_ms: int) -> dict[str, Any]:
    user_hash = f"{zlib.crc32(str(chat.uid).encode()):08x}"
    extra = {
        "send_from_me": False,
        "mode": 0,
        "color": chat.color,
        "dm_type": int(chat.emoticon),
        "font_size": 25,
        "player_mode": chat.mode,
        "show_player_type": 0,
        "content": chat.text,
        "user_hash": str(int(user_hash, 16)),
        "emoticon_unique": f"room_{sequence}" if chat.emoticon else "",
        "bulge_display": 0,
        "id_str": f"{sequence:034x}",
        "show_reply": True,
        "reply_mid": 0,
        "reply_uname": "",
    }
    emoticon = (
        {"emoticon_unique": f"room_{sequence}", "height": 162, "width": 162, "url": _FACE, "is_dynamic": 0}
        if chat.emoticon
        else "{}"
    )
    user = {
        "uid": chat.uid,
        "base": {"name": chat.user, "face": _FACE, "is_mystery": False, "name_color": 0, "name_color_str": ""},
        "guard": None,
        "guard_leader": {"is_guard_leader": False},
        "medal": None,
        "title": {"old_title_css_id": "", "title_css_id": ""},
        "uhead_frame": None,
        "wealth": None,
    }
    appearance = [
        0,
        chat.mode,
        25,
        chat.color,
        time_ms,
        -sequence,
        0,
        user_hash,
        0,
        0,
        0,
        "",
        int(chat.emoticon),
        emoticon,
        "{}",
        {"extra": _json(extra).decode(), "mode": 0, "show_player_type": 0, "user": user},
        {"activity_identity": "", "activity_source": 0, "not_show": 0},
        0,
    ]
    sender = [chat.uid, chat.user, 0, 0, 0, 10000, 1, ""]
    stamp = {"ts": time_ms // 1000, "ct": f"{sequence & 0xFFFFFFFF:08X}"}
    tail = [[20, 0, 6406234, ">50000", 3], ["", ""], 0, 0, None, stamp, 0, 0, None, None, 0, 105, [15], None]
    return {"cmd": "DANMU_MSG", "dm_v2": "", "info": [appearance, chat.text, sender, [], *tail]}


def _send_gift(chat: ChatMessage, sequence: int, time_ms: int) -> dict[str, Any]:
    price = 100 if chat.price is None else chat.price
    return {
        "cmd": "SEND_GIFT",
        "data": {
            "action": "投喂",
            "batch_combo_id": "",
            "coin_type": "gold",
            "discount_price": price,
            "face": _FACE,
            "giftId": area_id(chat.gift_name) + 30_000,
            "giftName": chat.gift_name,
            "giftType": 0,
            "gold": 0,
            "guard_level": 0,
            "medal_info": {"medal_level": 0, "medal_name": "", "anchor_roomid": 0, "guard_level": 0},
            "name_color": "",
            "num": chat.count,
            "price": price,
            "rnd": str(sequence),
            "silver": 0,
            "super": 0,
            "super_gift_num": chat.count,
            "tid": str(time_ms * 1000 + sequence % 1000),
            "timestamp": time_ms // 1000,
            "total_coin": price * chat.count,
            "uid": chat.uid,
            "uname": chat.user,
        },
    }


def _super_chat(chat: ChatMessage, number: int, sequence: int, time_ms: int) -> dict[str, Any]:
    start = time_ms // 1000
    return {
        "cmd": "SUPER_CHAT_MESSAGE",
        "data": {
            "background_bottom_color": "#2A60B2",
            "background_color": "#EDF5FF",
            "background_image": "",
            "background_price_color": "#7497CD",
            "end_time": start + chat.seconds,
            "gift": {"gift_id": 12000, "gift_name": "醒目留言", "num": 1},
            "id": sequence,
            "is_ranked": 1,
            "medal_info": None,
            "message": chat.text,
            "message_font_color": "#A3F6FF",
            "message_trans": "",
            "price": 30 if chat.price is None else chat.price,
            "rate": 1000,
            "start_time": start,
            "time": chat.seconds,
            "token": f"{sequence:08X}",
            "trans_mark": 0,
            "ts": start,
            "uid": chat.uid,
            "user_info": {
                "face": _FACE,
                "face_frame": "",
                "guard_level": 0,
                "is_main_vip": 0,
                "is_svip": 0,
                "is_vip": 0,
                "level_color": "#61c05a",
                "manager": 0,
                "name_color": "#666666",
                "title": "0",
                "uname": chat.user,
                "user_level": 20,
            },
        },
        "roomid": number,
    }


def _guard_buy(chat: ChatMessage, sequence: int, time_ms: int) -> dict[str, Any]:
    name, usual_price = _GUARDS[chat.level]
    return {
        "cmd": "GUARD_BUY",
        "data": {
            "uid": chat.uid,
            "username": chat.user,
            "guard_level": chat.level,
            "num": chat.count,
            "price": usual_price if chat.price is None else chat.price,
            "gift_id": 10_000 + chat.level,
            "gift_name": name,
            "start_time": time_ms // 1000,
            "end_time": time_ms // 1000,
        },
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

"""Fuzzes the codec of Bilibili's chat: frames as they are, and as a command in a plain, a zlib and a brotli packet."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any, Final

import brotli

from services.danmu.adapters.bilibili import BilibiliCodec, pack
from services.danmu.adapters.codec import Decoded
from services.danmu.fuzz.harness import SEPARATOR, run


def command(name: str, data: object = None, **more: Any) -> bytes:
    """The body of a command as the server writes it."""
    return json.dumps({"cmd": name, **more} | ({} if data is None else {"data": data})).encode()


_EXTRA: Final = json.dumps({"id_str": "a1", "emots": {"[dog]": {"url": "https://e/1.png", "emoticon_unique": "e"}}})
_LOOK: Final = [
    0,
    5,
    18,
    9_920_249,
    1_749_999_999_000,
    0,
    0,
    "0b",
    0,
    0,
    0,
    "",
    1,
    {"url": "u"},
    "{}",
    {"extra": _EXTRA},
]
_ANN: Final = {"uid": 42, "uname": "Ann", "timestamp": 1_749_999_999}
# 1 uid, 2 name, 5 = 2: followed
_FOLLOWED: Final = base64.b64encode(b"\x08\x2a\x12\x03Ann\x28\x02").decode()
SEEDS = (
    pack(8, b'{"code":0}') + SEPARATOR + pack(3, b"\x00\x00\x09\xa2") + b"[object Object]",
    pack(5, brotli.compress(pack(5, zlib.compress(pack(5, command("LIVE", live_time=1), 0)), 2)), 3),
    command("DANMU_MSG", info=[_LOOK, "a [dog]", [42, "Ann", 1], [29, "Cats", "S", 7, 1, "", 0, 1, 1, 1, 3]]),
    command("SEND_GIFT", _ANN | {"giftName": "Flower", "num": 3, "coin_type": "gold", "price": 100, "total_coin": 300}),
    command(
        "SUPER_CHAT_MESSAGE", {"id": 6, "uid": 42, "price": 30, "message": "m", "time": 60, "user_info": {"uname": "A"}}
    ),
    command("SUPER_CHAT_MESSAGE_DELETE", {"ids": [6]}),
    command("GUARD_BUY", {"uid": 42, "username": "Ann", "guard_level": 3, "num": 2, "price": 198_000}, msg_id="m-1"),
    command("INTERACT_WORD", _ANN | {"msg_type": 1}),
    command("INTERACT_WORD_V2", {"pb": _FOLLOWED}),
    command("ROOM_CHANGE", {"title": "t", "area_name": "Chess", "parent_area_name": "Games"}),
    command("ROOM_BLOCK_MSG", uid="42", uname="Ann"),
    command("CUT_OFF", msg="rules", roomid=1),
)


class BilibiliFuzz:
    """Feeds an input as a frame and as what one holds."""

    def __init__(self) -> None:
        self._codec = BilibiliCodec(clock=lambda: 1)

    def __call__(self, data: bytes) -> Decoded:
        decoded = self._codec.feed(data)
        plain = pack(5, data, 0)
        for frame in (plain, pack(5, zlib.compress(plain, 1), 2), pack(5, brotli.compress(plain, quality=0), 3)):
            decoded.messages += self._codec.feed(frame).messages
        return decoded


connect = BilibiliFuzz

if __name__ == "__main__":
    run(connect, SEEDS)

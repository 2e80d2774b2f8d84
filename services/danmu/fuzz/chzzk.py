"""Fuzzes the codec of CHZZK's chat: frames as they are, and as the text, the profile and the extras of a message."""

from __future__ import annotations

import json
from typing import Any

from services.danmu.adapters.chzzk import ChzzkCodec
from services.danmu.adapters.codec import Decoded
from services.danmu.fuzz.harness import SEPARATOR, run

COMMANDS = (0, 10100, 93101, 93102, 94005, 94008, 94010)
TYPES = (1, 10, 11, 12, 30)


def frame(command: int, body: Any) -> bytes:
    """A frame as the server sends it."""
    return json.dumps({"svcid": "game", "ver": "1", "cmd": command, "bdy": body}).encode()


def entry(code: int, extras: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A message: profile and extras are JSON in a text."""
    profile = {
        "userIdHash": "b" * 32,
        "nickname": "Ann",
        "userRoleCode": "streaming_chat_manager",
        "streamingProperty": {"subscription": {"accumulativeMonth": 5, "tier": 2}},
    }
    known = {"uid": "b" * 32, "profile": json.dumps(profile), "extras": json.dumps(extras), "msgTypeCode": code}
    return known | {"msg": "hi {:d_1:}", "mbrCnt": 321, "msgTime": 1_700_000_000_000} | more


SEEDS = (
    b'{"cmd":0}' + SEPARATOR + b'{"cmd":10100,"retCode":0,"bdy":{"sid":"s"}}',
    frame(93101, [entry(1, {"emojis": {"d_1": "https://e/1.png"}})]),
    frame(93102, [entry(10, {"payAmount": 5000, "donationType": "CHAT"})]),
    frame(93102, [entry(10, {"payAmount": 1000, "donationType": "MISSION", "missionText": "m"}, msg="")]),
    frame(93102, [entry(11, {"month": 7, "tierName": "t", "tierNo": 1})]),
    frame(93102, [entry(30, {"description": "d", "params": {"targetChatProfileJson": '{"userIdHash":"c"}'}})]),
    frame(94008, {"userId": "b" * 32, "messageTime": 1_700_000_000_000}),
    frame(94010, entry(1, {}, msg="rules")),
)


class ChzzkFuzz:
    """Feeds an input as a frame and as what a message holds."""

    def __init__(self) -> None:
        self._codec = ChzzkCodec("N1", clock=lambda: 1)

    def __call__(self, data: bytes) -> Decoded:
        decoded = self._codec.feed(data)
        inner = data[2:].decode("utf-8", "replace")
        first, second = (*data, 0, 0)[:2]
        one = {"msg": inner, "profile": inner, "extras": inner, "msgTypeCode": TYPES[second % len(TYPES)], "uid": inner}
        body = [one, {**one, "profile": "{}"}, {**one, "extras": "{}"}]
        decoded.messages += self._codec.feed(frame(COMMANDS[first % len(COMMANDS)], body)).messages
        return decoded


connect = ChzzkFuzz

if __name__ == "__main__":
    run(connect, SEEDS)

"""Fuzzes the codec of Bigo Live's chat: frames as they are, and as what somebody said in the room."""

from __future__ import annotations

import base64
import json
from typing import Any

from services.danmu.adapters.bigo import BigoCodec, Visitor
from services.danmu.adapters.codec import Decoded
from services.danmu.fuzz.harness import run


def happened(payload: dict[str, Any], **more: Any) -> bytes:
    """A frame about the room."""
    return b"2584\t" + json.dumps({"room_id": "1", "seqId": "5", "payload": payload, **more}).encode()


SAID = base64.b64encode(b'{"n":"a","m":"hi"}').decode()
SEEDS = (
    b'256\t{"challenge":"abcdefgh"}',
    b'512535\t{"res":"200"}',
    b'1560\t{"resCode":"200","sid":"7"}',
    b'10264\t{"gid":"1","totalUserCount":"7"}',
    happened({"tag": "1", "uid": "7", "content": SAID}),
    happened({"vgift_name": "x", "vgift_count": "3", "from_uid": "7"}, oriUri="760969")
    + b"\xff\xfe"
    + happened({"tag": "6", "uid": "7", "content": SAID}),
    b'0\t{"info":"unsigned"}',
)


class BigoFuzz:
    """Feeds an input twice: as a frame, and as the content of a comment."""

    def __init__(self) -> None:
        self._codec = BigoCodec("1", Visitor("1", "token", "web_x"), self._later)
        self._now = 0

    def _later(self) -> int:
        self._now += 400
        return self._now

    def __call__(self, data: bytes) -> Decoded:
        decoded = self._codec.feed(data)
        said = happened({"tag": 1, "uid": "7", "content": base64.b64encode(data).decode()})
        decoded.messages += self._codec.feed(said).messages
        return decoded


connect = BigoFuzz

if __name__ == "__main__":
    run(connect, SEEDS)

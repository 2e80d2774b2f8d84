"""Fuzzes the codec of Douyu's chat: frames as they are, and their text alone as the body of a packet."""

from __future__ import annotations

from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.douyu import DouyuCodec, Gift
from services.danmu.adapters.douyu_stt import pack
from services.danmu.fuzz.harness import run

HEADER_BYTES = 12
SEEDS = tuple(
    pack(fields)
    for fields in (
        {"type": "loginres", "userid": "0"},
        {
            "type": "chatmsg",
            "rid": "9",
            "txt": "hi [emot:dy1]",
            "nn": "a@b/c",
            "col": "2",
            "nl": "5",
            "bnn": "x",
            "bl": "9",
        },
        {"type": "dgb", "gfid": "824", "gfcnt": "10", "nn": "x"},
        {"type": "comm_chatmsg", "cprice": "3000", "cet": "60", "now": "1700000000000", "chatmsg": "nn@=a/txt@=b/"},
        {"type": "voice_trlt", "list": "realPrice@A=50@Sacptime@A=1@Setime@A=61@Scontent@A=c@S/"},
        {"type": "anbc", "unk": "a", "drid": "9", "nl": "7"},
        {"type": "newblackres", "did": "1", "dnic": "b"},
        {"type": "rss", "ss": "0"},
        {"type": "error", "code": "51"},
    )
)


class DouyuFuzz:
    """Feeds an input twice: as a frame, and as the text in one."""

    def __init__(self) -> None:
        self._codec = DouyuCodec("9", {"824": Gift("stick", 100)}, lambda: 1)

    def __call__(self, data: bytes) -> Decoded:
        decoded = self._codec.feed(data)
        text = data[HEADER_BYTES:].rstrip(b"\0") + b"\0"
        length = (len(text) + 8).to_bytes(4, "little")
        decoded.messages += self._codec.feed(length * 2 + b"\xb2\x02\0\0" + text).messages
        return decoded


connect = DouyuFuzz

if __name__ == "__main__":
    run(connect, SEEDS)

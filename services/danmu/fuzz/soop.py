"""Fuzzes the codec of SOOP's chat: frames as they are, and as the body of a packet whose service the first byte chooses."""

from __future__ import annotations

from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.soop import SoopCodec
from services.danmu.fuzz.harness import SEPARATOR, run


def packet(service: int, body: bytes) -> bytes:
    """A packet: escape and tab, the service with four digits, the length with six, ``00``, and the fields behind form feeds."""
    body = b"\x0c" + body[:999_998]
    return b"\x1b\t%04d%06d00" % (service, len(body)) + body


def fields(*values: str) -> bytes:
    """Fields as a packet holds them."""
    return "".join(f"{value}\x0c" for value in values).encode()


SEEDS = (
    packet(1, fields("guest", "16|0")) + SEPARATOR + packet(2, fields("1234", "streamer")),
    packet(5, fields("hi", "user(2)", "3368652", "0", "1", "Ann", "268468480|0", "14", "", "", "20")),
    packet(4, fields("1", "a", "A", "32|0", "b(2)", "B", "0|0")),
    packet(4, fields("0", "a(2)", "A", "2", "1", "0|0")),
    packet(18, fields("bj", "fan", "Fan", "50", "17", "0", "", "", "1", "1", "")),
    packet(88, fields("0", "0")),
    b"\x05" + fields("hi", "user", "", "0", "1", "Ann", "0|0", "-1"),
)


class SoopFuzz:
    """Feeds an input as a frame and as the body of a packet."""

    def __init__(self) -> None:
        self._codec = SoopCodec("1", "ticket", clock=lambda: 1)

    def __call__(self, data: bytes) -> Decoded:
        decoded = self._codec.feed(data)
        decoded.messages += self._codec.feed(packet(data[0] if data else 0, data[1:])).messages
        return decoded


connect = SoopFuzz

if __name__ == "__main__":
    run(connect, SEEDS)

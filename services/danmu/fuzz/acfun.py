"""Fuzzes the codec of AcFun's chat: frames as they are, and sealed as the payload of a command or a signal that the first byte chooses."""

from __future__ import annotations

from services.danmu.adapters.acfun import COMMAND, PUSH, REGISTER, AcfunCodec, Gift, Ticket
from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.webcast import field, number
from services.danmu.fuzz.harness import run

KEY = b"k" * 16
SIGNALS = tuple(
    name.encode()
    for name in (
        "CommonActionSignalComment",
        "CommonActionSignalGift",
        "AcfunActionSignalThrowBanana",
        "CommonActionSignalUserEnterRoom",
        "AcfunActionSignalJoinClub",
        "CommonNotifySignalViolationAlert",
        "CommonStateSignalDisplayInfo",
    )
)
USER = number(1, 42) + field(2, b"a") + field(4, b'{"medalInfo":{"clubName":"c","level":3}}') + field(5, number(1, 1))
SEEDS = (
    b"\0" + field(1, b"hi") + number(2, 1_700_000_000_000) + field(3, USER),
    b"\x01" + field(1, USER) + number(2, 5) + number(3, 9) + number(4, 2),
    b"\x02" + field(1, USER) + number(2, 5) + number(3, 9),
    b"\x05" + field(1, b"warning"),
    b"\x06" + field(1, "1.2万".encode()),
    b"\0" + field(1, b"ZtLiveCsEnterRoomAck") + field(4, number(1, 10_000)),
    b"\0" + field(1, b"ZtLiveScStatusChanged") + number(2, 1) + field(3, number(1, 1)),
    b"\0" + field(1, b"ZtLiveScActionSignal") + number(2, 2) + field(3, b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
)


def packet(command: str, payload: bytes) -> bytes:
    """What the server says, without encryption, which the protocol allows: nobody guesses a key."""
    header, body = number(10, 5), field(1, command.encode()) + field(4, payload)
    return b"\xab\xcd\0\x01" + len(header).to_bytes(4, "big") + len(body).to_bytes(4, "big") + header + body


class AcfunFuzz:
    """Feeds an input as a frame, as the payload of an answer and of a push, and as that of a signal."""

    def __init__(self) -> None:
        ticket = Ticket(1, "t", KEY, "web_x", "live", "ticket", "attach")
        self._codec = AcfunCodec(ticket, {9: Gift("x", 1000)}, lambda: 1, bytes)
        if not self._codec.feed(packet(REGISTER, field(2, KEY) + number(3, 7))).replies:
            raise AssertionError("not registered: nothing behind that would be reached")

    def __call__(self, data: bytes) -> Decoded:
        signal = field(1, SIGNALS[data[0] % len(SIGNALS)] if data else b"") + field(2, data[1:])
        push = field(1, b"ZtLiveScActionSignal") + number(2, 1) + field(3, field(1, signal))
        decoded = self._codec.feed(data)
        for command, payload in ((COMMAND, data[1:]), (PUSH, data[1:]), (PUSH, push)):
            decoded.messages += self._codec.feed(packet(command, payload)).messages
        return decoded


connect = AcfunFuzz

if __name__ == "__main__":
    run(connect, SEEDS)

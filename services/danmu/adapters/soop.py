"""The wire protocol of SOOP (once AfreecaTV) live chat, as pure code.

A packet is ESC TAB, the service in four digits, the length of the body in six, two zeros, and the body: fields of UTF-8
text, each with a form feed before it and one behind the last. A frame holds one or more packets. A guest logs in with
service 1 (third field "16", answered by service 1), enters the room with service 2 (chat number, ticket; answered by
service 2) and keeps the connection with service 0 once a minute; service 3 says that this connection was put out of the
room. Sources: the facts that two independent recorders agree on (`rust-srec`, and the "afreeca" libraries for Python, Go
and Kotlin that others build on), and a reader of the platform's own player that compared each packet with the screen.
What the services mean: `soop_services`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from services.danmu.adapters.codec import CodecCounters, Decoded, now_ms
from services.danmu.adapters.soop_services import HANDLERS, MALFORMED

MAX_FRAME_BYTES: Final = 4 << 20
"""Four times the largest body that the header's six digits can announce."""
MAX_FRAME_PACKETS: Final = 4096
MAX_FIELDS: Final = 8192

MARK: Final = b"\x1b\t"
HEADER_BYTES: Final = 14
SEPARATOR: Final = "\x0c"

KEEP_ALIVE: Final = 0
LOGIN: Final = 1
JOIN: Final = 2
QUIT: Final = 3

_GUEST: Final = "16"
"""The user flag of somebody who is not signed in: bit 4 of the platform's flags."""


def pack(service: int, *fields: str) -> bytes:
    """One packet; without fields its body is a lone separator."""
    body = "".join((SEPARATOR, *(field + SEPARATOR for field in fields))).encode()
    return MARK + b"%04d%06d00" % (service, len(body)) + body


class SoopCodec:
    """One connection's codec; make a new one for each connection.

    `chat_no` and `ticket` are what the live API says of the broadcast (``CHATNO``, ``FTK``); `clock` gives unix milliseconds.
    """

    def __init__(self, chat_no: str, ticket: str = "", clock: Callable[[], int] = now_ms) -> None:
        self.counters = CodecCounters()
        self._chat_no, self._ticket, self._clock = _plain(chat_no), _plain(ticket), clock

    def hello(self) -> bytes:
        """Log in as a guest: the first packet of a connection."""
        return pack(LOGIN, "", "", _GUEST)

    def heartbeat(self) -> bytes:
        """Due every 60 s."""
        return pack(KEEP_ALIVE)

    def feed(self, frame: bytes) -> Decoded:
        """Everything in one frame; the answer to the log-in is answered by entering the room. Never raises."""
        decoded = Decoded()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            return decoded
        at, now = 0, self._clock()
        for _ in range(MAX_FRAME_PACKETS):
            if at >= len(frame):
                return decoded
            end = _end(frame, at)
            if end is None:
                self.counters.malformed += 1
                return decoded
            self._packet(int(frame[at + 2 : at + 6]), frame[at + HEADER_BYTES : end], decoded, now)
            at = end
        self.counters.oversized += 1
        return decoded

    def _packet(self, service: int, body: bytes, decoded: Decoded, now: int) -> None:
        if service == LOGIN:
            decoded.replies.append(pack(JOIN, self._chat_no, self._ticket, "", "", ""))
        elif service in (JOIN, QUIT):
            decoded.authenticated = service == JOIN
        else:
            self._message(service, body, decoded, now)

    def _message(self, service: int, body: bytes, decoded: Decoded, now: int) -> None:
        handler = HANDLERS.get(service)
        if handler is None:
            self.counters.ignore(f"{service:04}")
            return
        fields = str(body, "utf-8", "replace").split(SEPARATOR, MAX_FIELDS)[1:]
        try:
            messages = handler(fields, now)
        except MALFORMED:
            self.counters.malformed += 1
            return
        if not messages:
            self.counters.ignore(f"{service:04}")
        decoded.messages += messages


def _end(frame: bytes, at: int) -> int | None:
    """Where the packet that begins at `at` ends; None when there is no whole packet."""
    digits = frame[at + 2 : at + HEADER_BYTES]
    if frame[at : at + 2] != MARK or len(digits) != HEADER_BYTES - 2 or not digits.isdigit():
        return None
    end = at + HEADER_BYTES + int(digits[4:10])
    return end if end <= len(frame) else None


def _plain(value: str) -> str:
    """A value out of an answer must not end its field."""
    return value.replace(SEPARATOR, "").replace("\x1b", "")[:1024]

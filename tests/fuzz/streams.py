"""Turns fuzz bytes into FLV streams with every known fault, so that the repair chain is reached and not only the parser's resync."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

FILE_HEADER = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00"
AUDIO, VIDEO, SCRIPT = 8, 9, 18
_SPS = bytes.fromhex("6742c01ed900a03db0110000030001000003003c0f162e48")
_OTHER_SPS = bytes.fromhex("6742c00dda0507e840000003004000000ca3c60a80")
_PPS = bytes.fromhex("68cb83cb20")
_HEADERS = (
    b"\x17\x00\x00\x00\x00\x01\x42\xc0\x1e\xff\xe1"
    + len(_SPS).to_bytes(2) + _SPS + b"\x01" + len(_PPS).to_bytes(2) + _PPS,
    b"\x17\x00\x00\x00\x00\x01\x42\xc0\x0d\xff\xe1"
    + len(_OTHER_SPS).to_bytes(2) + _OTHER_SPS + b"\x01" + len(_PPS).to_bytes(2) + _PPS,
    b"\xaf\x00\x12\x10",
    b"\xaf\x00\x11\x90",
    b"\x90hvc1\x01\x01\x60\x00\x00\x00",
    b"\x90av01\x81\x05\x0c\x00",
    b"\x90OpusOpusHead\x01\x02",
    b"\x1c\x00\x00\x00\x00broken",
)  # fmt: skip
_HEADER_TYPES = (VIDEO, VIDEO, AUDIO, AUDIO, VIDEO, VIDEO, AUDIO, VIDEO)
_SCRIPTS = (
    b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x01\x00\x05width\x00\x40\x84\x00\x00\x00\x00\x00\x00\x00\x00\x09",
    b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x01\x00\x05width",
    b"\x02\x00\x08onCueing\x05",
    b"",
)
_STEPS = (0, 20, 23, 33, 40, 40, 66, 100, 400, 499, 500, 501, 1000, -16, -68, -107)
_JUMPS = (
    -501,
    501,
    -3_000,
    3_000,
    90_000,
    -90_000,
    2**31 - 5,
    -(2**31),
    5_000,
    10_000_000,
    499,
    -499,
    2**24,
    1,
    0,
    700,
)


@dataclass
class Source:
    """The connections that a program describes.

    `is_exact`: nothing in them is cut, junk (which may look like media) or filler (which is removed from payloads).
    """

    connections: list[bytes]
    is_exact: bool = True


@dataclass
class _Builder:
    clock: int = 0
    audio_clock: int = 0
    content: int = 0
    parts: list[bytes] = field(default_factory=lambda: [FILE_HEADER])
    source: Source = field(default_factory=lambda: Source([]))

    def tag(self, tag_type: int, timestamp: int, payload: bytes) -> None:
        timestamp &= 0xFFFFFFFF
        head = struct.pack(">II3x", tag_type << 24 | len(payload), (timestamp & 0xFFFFFF) << 8 | timestamp >> 24)
        self.parts.append(head + payload + struct.pack(">I", len(payload) + 11))

    def reconnect(self) -> None:
        self.source.connections.append(b"".join(self.parts))
        self.parts = [FILE_HEADER]


def build(program: bytes) -> Source:
    """Interpret a program: two bytes an instruction, at most 2000 of them."""
    builder = _Builder()
    for at in range(0, min(len(program), 4000) - 1, 2):
        _step(builder, program[at], program[at + 1])
    builder.reconnect()
    return builder.source


def _step(builder: _Builder, operation: int, argument: int) -> None:
    kind, flag = operation & 15, operation >> 4
    if kind <= 5:
        builder.clock += _STEPS[argument & 15]
        _video(builder, key=kind == 0, variant=argument >> 4, filler=flag == 15)
    elif kind <= 9:
        builder.audio_clock = max(builder.audio_clock, builder.clock - 300) if flag < 12 else builder.audio_clock
        builder.audio_clock += _STEPS[argument & 15]
        _audio(builder, variant=argument >> 4)
    elif kind == 10:
        which = argument % len(_HEADERS)
        builder.tag(_HEADER_TYPES[which], builder.clock if flag & 1 else 0, _HEADERS[which])
    elif kind == 11:
        _special(builder, flag, argument)
    elif kind == 12:
        builder.tag(SCRIPT, 0, _SCRIPTS[argument % len(_SCRIPTS)])
    elif kind == 13:
        builder.parts.append(bytes([argument]) * (flag + 1))
        builder.source.is_exact = False
    elif kind == 14:
        jump = _JUMPS[argument & 15]
        builder.clock += jump if flag != 1 else 0
        builder.audio_clock += jump if flag != 2 else 0
    else:
        again = builder.parts[-(argument % 40) - 1 :]
        if flag & 1:
            builder.reconnect()
        builder.parts += [part for part in again if part is not FILE_HEADER]


def _special(builder: _Builder, flag: int, argument: int) -> None:
    if flag & 1:
        builder.tag(VIDEO, builder.clock if argument & 1 else 0, b"\x17\x02\x00\x00\x00")
    elif flag & 2:
        builder.parts.append(FILE_HEADER)
    elif flag & 4 and builder.parts[-1]:
        builder.parts[-1] = builder.parts[-1][: argument % len(builder.parts[-1])]
        builder.source.is_exact = False
    else:
        builder.source.is_exact = False
        builder.tag((AUDIO, VIDEO, SCRIPT, 15)[argument & 3], builder.clock, b"\x27"[: argument >> 7])


def _video(builder: _Builder, *, key: bool, variant: int, filler: bool) -> None:
    builder.content += variant != 15
    body = builder.content.to_bytes(3) + b"v" * (variant & 7)
    lead = (b"\x17" if key else b"\x27") + b"\x01\x00\x00\x00"
    if variant == 14:
        lead = b"\x91hvc1\x00\x00\x00" if key else b"\xa1hvc1\x00\x00\x00"
    unit = (len(body) + 1).to_bytes(4) + (b"\x65" if key else b"\x41") + body
    if filler:
        unit += b"\x00\x00\x00\x05\x0c\xff\xff\xff\xff"
        builder.source.is_exact = False
    builder.tag(VIDEO, builder.clock, lead + unit)


def _audio(builder: _Builder, *, variant: int) -> None:
    builder.content += variant != 15
    lead = b"\x2f" if variant == 14 else b"\xaf\x01"
    builder.tag(AUDIO, builder.audio_clock, lead + builder.content.to_bytes(3) + b"a" * (variant & 3))

"""Program tables: which streams a transport stream carries (ISO/IEC 13818-1 §2.4.4)."""

from __future__ import annotations

from dataclasses import dataclass

MAX_SECTION_PACKETS = 8
"""A PMT section has at most 1024 bytes; a PAT that names the first program fits one packet."""

_CODECS = {
    0x01: "mpeg1video",
    0x02: "mpeg2video",
    0x10: "mpeg4",
    0x1B: "h264",
    0x24: "hevc",
    0x33: "vvc",
    0x03: "mp3",
    0x04: "mp3",
    0x0F: "aac",
    0x11: "aac_latm",
    0x81: "ac3",
    0x87: "eac3",
}
_VIDEO = frozenset({"mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc", "vvc"})
_PRIVATE_DATA = 0x06
_DESCRIPTOR_CODECS = {0x6A: "ac3", 0x7A: "eac3", 0x7C: "aac"}
_REGISTERED = {b"Opus": "opus", b"AC-3": "ac3", b"EAC3": "eac3", b"HEVC": "hevc", b"AV01": "av1"}


@dataclass(frozen=True, slots=True)
class Stream:
    """One elementary stream with audio or video."""

    pid: int
    codec: str
    is_video: bool


@dataclass(frozen=True, slots=True)
class Program:
    """The first program of a transport stream."""

    number: int
    transport_stream_id: int
    pmt_pid: int
    streams: tuple[Stream, ...] = ()

    @property
    def video(self) -> Stream | None:
        """The first video stream."""
        return next((stream for stream in self.streams if stream.is_video), None)

    @property
    def audio(self) -> Stream | None:
        """The first audio stream."""
        return next((stream for stream in self.streams if not stream.is_video), None)


def parse_pat(payload: bytes) -> tuple[int, int, int] | None:
    """Transport stream id, program number and PMT PID of the first program, or None."""
    section = _section(payload, table_id=0x00)
    if section is None:
        return None
    for at in range(8, len(section) - 3, 4):
        number = int.from_bytes(section[at : at + 2])
        if number != 0:
            return int.from_bytes(section[3:5]), number, int.from_bytes(section[at + 2 : at + 4]) & 0x1FFF
    return None


def parse_pmt(payload: bytes) -> tuple[Stream, ...] | None:
    """The audio and video streams of a program, in table order, or None when the section is damaged."""
    section = _section(payload, table_id=0x02)
    if section is None or len(section) < 12:
        return None
    streams: list[Stream] = []
    at = 12 + (int.from_bytes(section[10:12]) & 0x0FFF)
    while at + 5 <= len(section):
        size = int.from_bytes(section[at + 3 : at + 5]) & 0x0FFF
        codec = _codec(section[at], section[at + 5 : at + 5 + size])
        if codec is not None:
            pid = int.from_bytes(section[at + 1 : at + 3]) & 0x1FFF
            streams.append(Stream(pid, codec, codec in _VIDEO or codec == "av1"))
        at += 5 + size
    return tuple(streams)


def _section(payload: bytes, table_id: int) -> bytes | None:
    """A section without its CRC, or None when it is another table or not whole."""
    if not payload:
        return None
    start = 1 + payload[0]
    if len(payload) < start + 8 or payload[start] != table_id:
        return None
    end = start + 3 + (int.from_bytes(payload[start + 1 : start + 3]) & 0x0FFF)
    return payload[start : end - 4] if end <= len(payload) else None


def _codec(stream_type: int, descriptors: bytes) -> str | None:
    if stream_type != _PRIVATE_DATA:
        return _CODECS.get(stream_type)
    at = 0
    while at + 2 <= len(descriptors):
        tag, size = descriptors[at], descriptors[at + 1]
        if tag == 0x05 and descriptors[at + 2 : at + 6] in _REGISTERED:
            return _REGISTERED[descriptors[at + 2 : at + 6]]
        if tag in _DESCRIPTOR_CODECS:
            return _DESCRIPTOR_CODECS[tag]
        at += 2 + size
    return None

"""The targets by name. A target returns, or raises AssertionError or an undocumented error: that is a finding."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from media.flv.amf0 import decode_all, encode_all
from media.flv.codec_config import read_config
from media.flv.errors import AmfError, FlvError
from media.flv.files import probe
from media.flv.metadata import KeyframeIndex, carried_fields, encode_metadata, read_metadata
from media.flv.parser import FlvParser
from media.flv.recorder import FlvRecorder, Limits
from media.flv.recover import copy_with_index, recover
from media.flv.tag import Item, Junk, Tag
from media.flv.writer import encode_tag
from media.fmp4 import Mp4Error, parse_init, recover_mp4, scan_fragments, whole_fragments
from media.hls import HlsPlanner, PlaylistError, decode_playlist, parse_playlist
from media.hls.containers import FragmentedMp4, TransportStream
from media.hls.packed_audio import read_packed_audio
from media.mpegts import aligned, recover_ts, scan_ts
from media.repair import RepairOptions
from media.repair.headers import channel_of

from services.downloader.adapters.framing import BadFraming, Chunked
from tests.fuzz.streams import build

_URL = "https://cdn.example/live/index.m3u8"
_JUMP = RepairOptions().jump_ms
_PIECE_MS = 100
_LIMITS = Limits(max_bytes=100_000)  # never reached; keeps the room of the index small


def flv_parser(data: bytes) -> None:
    """The items do not depend on the chunks, and no byte is counted twice."""
    whole, size = _parse(data, len(data) or 1)
    chunk = 1 + (data[0] if data else 0) % 37
    pieces, _ = _parse(data, chunk)
    assert pieces == whole
    assert size <= len(data)
    for item in whole:
        if isinstance(item, Tag):
            read_config(item)
            _ = item.codec, item.track, item.fourcc
            again = FlvParser().feed(b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00" + encode_tag(item))
            assert again[1:] == [item]


def _parse(data: bytes, chunk: int) -> tuple[list[Item], int]:
    parser = FlvParser()
    items: list[Item] = []
    for at in range(0, len(data), chunk):
        items += parser.feed(data[at : at + chunk])
    items += parser.finish()
    return items, sum(item.size + (11 if isinstance(item, Tag) else 0) for item in items if not _is_header(item))


def _is_header(item: Item) -> bool:
    return not isinstance(item, Tag | Junk)


def amf0(data: bytes) -> None:
    """What can be read can be written and read again; metadata of any kind can be carried on."""
    try:
        values = decode_all(data)
    except AmfError:
        return
    try:
        encoded = encode_all(values)
    except AmfError:
        return  # too deep or too long for what is written
    assert encode_all(decode_all(encoded)) == encoded
    fields = read_metadata(data)
    if fields is None:
        return
    index = KeyframeIndex(64)
    index.add(0, 100)
    payload = encode_metadata(carried_fields(fields), index, duration_ms=7, file_size=9).payload
    again = read_metadata(payload)
    assert again is not None
    assert again["duration"] == 0.007


def m3u8(data: bytes) -> None:
    """A playlist is read or refused; a planner that was shown it stays usable."""
    planner = HlsPlanner()
    for now, part in enumerate(data.split(b"\x00", 2)):
        try:
            text = decode_playlist(part)
            parse_playlist(text, _URL)
            tasks = planner.update(text, _URL, float(now))
        except PlaylistError:
            continue
        orders = [task.order for task in tasks]
        assert orders == sorted(set(orders))
        request = planner.next_request(float(now))
        assert request is None or 0 <= request.delay < 3600


def mpegts(data: bytes) -> None:
    """Any bytes are scanned, recording and recovery agree on what a packet is."""
    packets = aligned(data)
    assert len(packets) % 188 == 0
    scan = scan_ts(packets)
    scan_ts(packets, scan.program)
    container = TransportStream()
    for piece in (container.inspect(data[: len(data) // 2]), container.inspect(data)):
        if piece is not None:
            container.begin(piece, True)
            container.body(piece, 0)
    read_packed_audio(data)
    file = io.BytesIO(data)
    recovered = recover_ts(file)
    assert recovered.bytes == len(file.getvalue())
    assert recovered.bytes + recovered.removed_bytes == len(data)
    assert recover_ts(io.BytesIO(file.getvalue())).removed_bytes == 0


def fmp4(data: bytes) -> None:
    """Boxes are read or refused with Mp4Error; recovery keeps a prefix and is final."""
    with contextlib.suppress(Mp4Error):
        scan_fragments(data, parse_init(data))
    whole_fragments(data)
    with contextlib.suppress(Mp4Error):
        container = FragmentedMp4(data)
        piece = container.inspect(data)
        if piece is not None:
            head = container.begin(piece, True)
            body = container.body(piece, len(head))
            file = io.BytesIO(head + body)
            container.end(file, 1000)
    file = io.BytesIO(data)
    recovered = recover_mp4(file)
    assert recovered.bytes == len(file.getvalue())
    assert recovered.duration_ms >= 0
    assert recover_mp4(io.BytesIO(file.getvalue())).removed_bytes == 0


def chain(data: bytes) -> None:
    """The promises of the repair chain on a stream with any faults, in any order."""
    source = build(data[1:])
    piece_ms = _PIECE_MS if data[:1] and data[0] & 2 else 0
    contents = _record(source.connections, 1 << 16, piece_ms)
    if data[:1] and data[0] & 1:
        assert _record(source.connections, 40 + data[0], piece_ms) == contents
    written = Counter[bytes]()
    for content in contents:
        written.update(_check(content))
    if source.is_exact:
        given = Counter(bytes(tag.payload) for connection in source.connections for tag in _media(connection))
        assert not written - given, "no media is invented"


def chain_bytes(data: bytes) -> None:
    """The same on raw bytes: whatever is found in them becomes a file that keeps the promises."""
    for content in [*_record([data], 1 << 16), *_record([data], 1 << 16, _PIECE_MS)]:
        _check(content)
    with contextlib.suppress(FlvError):
        probe(io.BytesIO(data))
    with contextlib.suppress(FlvError):
        recover(io.BytesIO(data))
    with contextlib.suppress(FlvError):
        copy_with_index(io.BytesIO(data), io.BytesIO())


class _Kept(io.BytesIO):
    content = b""

    def close(self) -> None:
        self.content = self.getvalue()
        super().close()


def _record(connections: list[bytes], chunk: int, piece_ms: int = 0) -> list[bytes]:
    files: list[_Kept] = []

    def open_file(index: int) -> _Kept:
        assert index == len(files)
        files.append(_Kept())
        return files[-1]

    recorder = FlvRecorder(
        open_file, limits=_LIMITS, options=RepairOptions(piece_ms=piece_ms, first_piece_ms=piece_ms // 2)
    )
    for number, connection in enumerate(connections):
        if number:
            recorder.reconnected(700 if number & 1 else None)
        for at in range(0, len(connection), chunk):
            recorder.feed(connection[at : at + chunk])
    recorder.finish()
    return [file.content for file in files]


def _media(data: bytes) -> list[Tag]:
    return [item for item in _parse(data, len(data))[0] if isinstance(item, Tag) and item.is_media]


def _check(content: bytes) -> list[bytes]:
    items, _ = _parse(content, len(content))
    tags = [item for item in items if isinstance(item, Tag)]
    media = [tag for tag in tags if tag.is_media]
    headers = [tag for tag in tags if tag.is_sequence_header]
    times = [tag.timestamp for tag in media]
    assert times[0] == 0, "a file begins at 0"
    assert all(0 <= after - before <= _JUMP for before, after in pairwise(times)), "no step back, no jump"
    assert not any(isinstance(item, Junk) for item in items), "no junk"
    assert [tag.type for tag in tags].count(18) == 1
    assert tags[1 : 1 + len(headers)] == headers, "headers in front"
    assert len({channel_of(tag) for tag in headers}) == len(headers), "one header per channel"
    assert not any(tag.is_end_of_sequence for tag in tags[:-1])
    assert _record([content], 1 << 16) == [content], "another repair changes nothing"
    file = io.BytesIO(content)
    assert not recover(file).changed, "a closed file needs no recovery"
    return [bytes(tag.payload) for tag in media]


def chunked(data: bytes) -> None:
    """The body of chunked transfer coding does not depend on the reads, and is a part of what came."""
    whole = _unchunked(data, len(data) or 1)
    assert _unchunked(data, 1 + (data[0] if data else 0) % 37) == whole
    assert len(whole[0]) <= len(data)


def _unchunked(data: bytes, size: int) -> tuple[bytes, bool, str]:
    decoder, body = Chunked(), b""
    try:
        for at in range(0, len(data), size):
            body += b"".join(decoder.feed(memoryview(data)[at : at + size]))
    except BadFraming as error:
        return b"", False, str(error)
    return body, decoder.may_end, ""


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (flv_parser, amf0, m3u8, mpegts, fmp4, chain, chain_bytes, chunked)
}

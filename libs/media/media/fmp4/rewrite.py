"""Changes that make fragments from somewhere in a live stream a file of their own."""

from __future__ import annotations

from collections.abc import Mapping

from media.fmp4.boxes import Box, boxes, find, find_path, full_box, number, read_header

_KEPT = frozenset({b"moof", b"mdat", b"emsg", b"prft"})
"""Segment types and indexes describe one segment: inside a longer file their offsets mislead a player."""

_MEHD_BYTES = 20
_BASE_DATA_OFFSET = 0x1


def with_duration_box(init: bytes) -> bytes:
    """The initialisation section with a 64-bit ``mehd``, so that a finished file can say how long it is.

    A fragmented file without it is played with an unknown length (§8.8.2). The same bytes when it cannot be added.
    """
    moov, mvex = _movie_extends(init)
    if moov is None or mvex is None:
        return init
    old = find(init, b"mehd", mvex)
    if old is not None and old.end - old.start == _MEHD_BYTES and init[old.body] == 1:
        return init
    rest = init[mvex.body : old.start] + init[old.end : mvex.end] if old else init[mvex.body : mvex.end]
    mehd = _MEHD_BYTES.to_bytes(4) + b"mehd" + bytes([1, 0, 0, 0]) + bytes(8)
    new_mvex = (8 + _MEHD_BYTES + len(rest)).to_bytes(4) + b"mvex" + mehd + rest
    body = init[moov.body : mvex.start] + new_mvex + init[mvex.end : moov.end]
    return init[: moov.start] + (8 + len(body)).to_bytes(4) + b"moov" + body + init[moov.end :]


def duration_patch(init: bytes, duration_ms: int) -> tuple[int, bytes] | None:
    """Where to write which bytes so that ``init`` (made by with_duration_box) names this duration; None without a mehd."""
    moov, mvex = _movie_extends(init)
    header = find(init, b"mvhd", moov) if moov else None
    mehd = find(init, b"mehd", mvex) if mvex else None
    if header is None or mehd is None or mehd.end - mehd.start != _MEHD_BYTES:
        return None
    version, _ = full_box(init, header)
    timescale = number(init, header, 20 if version == 1 else 12, 4)
    return mehd.body + 4, (duration_ms * timescale // 1000).to_bytes(8)


def rebase(data: bytes, base: Mapping[int, int], position: int) -> bytes:
    """The fragments of one segment, ready to stand at ``position`` of a file.

    ``base`` is what to subtract from the decode times, in ticks, by track id. Boxes that describe the segment are left
    out. Data offsets are relative to the moof in all but old files; absolute ones are moved along.
    """
    kept: list[bytes] = []
    for box in boxes(data):
        if box.kind not in _KEPT:
            continue
        piece = data[box.start : box.end]
        if box.kind == b"moof":
            piece = _moof(piece, base, position - box.start)
        kept.append(piece)
        position += len(piece)
    return b"".join(kept)


def _moof(piece: bytes, base: Mapping[int, int], shift: int) -> bytes:
    changed = bytearray(piece)
    moof = read_header(piece, 0, len(piece))
    if moof is None:
        return piece
    for traf in boxes(piece, moof.body, moof.end):
        if traf.kind == b"traf":
            _traf(changed, traf, base, shift)
    return bytes(changed)


def _traf(changed: bytearray, traf: Box, base: Mapping[int, int], shift: int) -> None:
    header = find(changed, b"tfhd", traf)
    if header is None:
        return
    _, flags = full_box(changed, header)
    if flags & _BASE_DATA_OFFSET:
        _put(changed, header.body + 8, 8, number(changed, header, 8, 8) + shift)
    time = find(changed, b"tfdt", traf)
    if time is None:
        return
    version, _ = full_box(changed, time)
    size = 8 if version == 1 else 4
    _put(changed, time.body + 4, size, number(changed, time, 4, size) - base.get(number(changed, header, 4, 4), 0))


def _put(changed: bytearray, at: int, size: int, value: int) -> None:
    limit = (1 << 8 * size) - 1
    changed[at : at + size] = min(max(value, 0), limit).to_bytes(size)


def _movie_extends(init: bytes) -> tuple[Box | None, Box | None]:
    moov = next((box for box in boxes(init) if box.kind == b"moov"), None)
    return moov, find_path(init, moov, b"mvex") if moov else None

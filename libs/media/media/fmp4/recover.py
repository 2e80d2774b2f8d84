"""What is left of a fragmented .mp4 file after a crash."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from media.fmp4.boxes import Box, Mp4Error, read_header
from media.fmp4.fragments import scan_fragments
from media.fmp4.init import InitTracks, parse_init
from media.fmp4.rewrite import duration_patch
from media.segments import Recovered

MAX_HEADER_BYTES = 16 * 1024 * 1024
"""The largest moov or moof that is read into memory."""


@dataclass(slots=True)
class _Kept:
    """What was found so far; ``end`` is after the last whole fragment."""

    init: bytes = b""
    tracks: InitTracks | None = None
    moof: Box | None = None
    end: int = 0
    start_ms: float | None = None
    end_ms: float = 0.0


def recover_mp4(file: BinaryIO) -> Recovered:
    """Truncate a file, opened for reading and writing, to whole fragments and measure it; patches its duration.

    Only box headers and movie fragments are read, never the media. The caller syncs and closes. Zero bytes left means
    that nothing can be played: there is no initialisation section, or no whole fragment after it.
    """
    size = file.seek(0, os.SEEK_END)
    kept = _Kept()
    position = 0
    while (box := _box_at(file, position, size)) is not None:
        try:
            if not _take(file, box, kept):
                break
        except Mp4Error:
            break
        position = box.end
    file.truncate(kept.end)
    duration_ms = round(kept.end_ms - kept.start_ms) if kept.start_ms is not None else 0
    patch = duration_patch(kept.init, duration_ms) if kept.end else None
    if patch is not None:
        file.seek(patch[0])
        file.write(patch[1])
    return Recovered(kept.end, duration_ms, size - kept.end)


def _box_at(file: BinaryIO, position: int, size: int) -> Box | None:
    """The whole box at ``position`` of the file, or None when it is torn."""
    file.seek(position)
    header = file.read(16)
    box = read_header(header, 0, len(header))
    if box is None or int.from_bytes(header[:4]) == 0:
        return None
    found = Box(box.kind, position, position + box.body, position + box.end)
    return found if found.end <= size else None


def _take(file: BinaryIO, box: Box, kept: _Kept) -> bool:
    """Account for one top-level box; False when the file is of no use from here."""
    if box.kind in (b"moov", b"moof") and box.end - box.start > MAX_HEADER_BYTES:
        return False
    if box.kind == b"moov":
        kept.init = _read(file, 0, box.end) if box.end <= MAX_HEADER_BYTES else b""
        kept.tracks = parse_init(kept.init)
    elif box.kind == b"moof":
        kept.moof = box
    elif box.kind == b"mdat" and kept.moof is not None and kept.tracks is not None:
        _fragment(_read(file, kept.moof.start, kept.moof.end), kept.tracks, kept)
        kept.moof, kept.end = None, box.end
    return True


def _fragment(moof: bytes, tracks: InitTracks, kept: _Kept) -> None:
    span = scan_fragments(moof, tracks).reference
    if span is None:
        return
    start = span.start * 1000 / span.track.timescale
    kept.start_ms = start if kept.start_ms is None else min(kept.start_ms, start)
    kept.end_ms = max(kept.end_ms, span.end * 1000 / span.track.timescale)


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)

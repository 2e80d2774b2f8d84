"""Makes a part whole that its owner could not finish."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

from contracts.values import Json
from media.flv.errors import FlvError
from media.flv.recover import recover as recover_flv
from media.flv.tail import last_group, read_tail
from media.hls import recover_mp4, recover_ts
from media.repair.join import Written

from services.downloader.adapters.files import Part

HasGroup = Callable[[int], bool]
"""Whether somebody has the whole group of pictures that begins with the keyframe of this mark (`media.repair.replay.mark`)."""


class InUse(Exception):
    """Somebody still writes the part, or recovers it."""


class Damaged(Exception):
    """More than a crash leaves behind is wrong with the part: a person must look at it."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What is left of a part; 0 bytes when nothing in it can be played. ``written_at``: its last bytes came then (Unix time).

    ``torn``: the tags of a group of pictures that was left out, with times of the file.
    """

    bytes: int
    duration_ms: int
    written_at: float = 0.0
    torn: tuple[Written, ...] = ()


@contextmanager
def claim(part: Part) -> Iterator[BinaryIO]:
    """Hold a part against everybody else until it is dealt with; raises InUse, FileNotFoundError, OSError."""
    with part.path.open("r+b") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(part.path.name) from None
        # Whoever held it before may have finished it meanwhile: then this is no part any more.
        if not os.path.samestat(os.fstat(file.fileno()), part.path.stat()):
            raise FileNotFoundError(part.path.name)
        yield file


def recover(part: Part, file: BinaryIO, *, whole: int | None = None, held: HasGroup | None = None) -> Recovered:
    """Truncate torn media, write the true duration and index into a claimed part. Idempotent; raises Damaged, OSError.

    ``whole``: so many bytes hold whole segments of a playlist, what lies behind them comes again. ``held``: the last group of pictures of an
    FLV is left out where somebody has it whole, so that the next file begins with its keyframe.
    """
    status = os.fstat(file.fileno())
    if status.st_size == 0:
        return Recovered(0, 0)
    if whole is not None and 0 < whole < status.st_size:
        file.truncate(whole)
    try:
        found = _RECOVER[part.extension](part, file)
        last = last_group(file) if held is not None and part.extension == "flv" else None
        if last is None or held is None or not held(last.mark):
            return replace(found, written_at=status.st_mtime)
        file.truncate(last.position)
        return replace(_RECOVER[part.extension](part, file), written_at=status.st_mtime, torn=last.tags)
    except FlvError as error:
        raise Damaged(str(error)) from error


def _flv(_: Part, file: BinaryIO) -> Recovered:
    found = recover_flv(file)
    # Without one tick of media only headers are in it.
    return Recovered(found.bytes if found.duration_ms else 0, found.duration_ms)


def _ts(_: Part, file: BinaryIO) -> Recovered:
    found = recover_ts(file)
    return Recovered(found.bytes, found.duration_ms)


def _mp4(_: Part, file: BinaryIO) -> Recovered:
    found = recover_mp4(file)
    return Recovered(found.bytes, found.duration_ms)


def _packed_audio(part: Part, file: BinaryIO) -> Recovered:
    """Frames of packed audio stand alone and players skip a torn one; how long was written is the best known duration."""
    status = os.fstat(file.fileno())
    return Recovered(status.st_size, max(0, round((status.st_mtime - part.created_at.timestamp()) * 1000)))


_RECOVER = {"flv": _flv, "ts": _ts, "mp4": _mp4, "aac": _packed_audio}


def tail_of(part: Part, file: BinaryIO, start_ms: int, left: Recovered) -> Json | None:
    """The end of a recovered part by content, for `Take.behind`; ``None`` where segment numbers tell it."""
    if part.extension != "flv":
        return None
    tail = read_tail(file, start_ms=start_ms, ended_at=left.written_at)
    tail.ahead = tuple(replace(one, time=one.time + start_ms) for one in left.torn)
    return tail.to_json()

"""What a file can hold: the codecs and tracks of a segment, and whether another segment still fits them."""

from __future__ import annotations

from dataclasses import dataclass

from media.segments import SplitReason


@dataclass(frozen=True, slots=True)
class Layout:
    """Codecs, picture and container structure of one segment; unknown parts are empty or None."""

    video: str = ""
    audio: str = ""
    picture: tuple[int, int] | None = None
    structure: tuple[object, ...] = ()
    """What must stay equal for the container's sake, position by position; None where a segment does not say."""


@dataclass(frozen=True, slots=True)
class Change:
    """Why a segment needs another file."""

    reason: SplitReason
    detail: str = ""


def change_between(old: Layout, new: Layout, after_discontinuity: bool) -> Change | None:
    """Why ``new`` does not fit into a file that began with ``old``; None when it does.

    A stream that is merely absent from a segment is no change, unless the playlist announces a discontinuity.
    """
    for before, after in ((old.video, new.video), (old.audio, new.audio)):
        if before and after and before != after:
            return Change(SplitReason.CODEC_CHANGE, f"{before} -> {after}")
    if old.picture and new.picture and old.picture != new.picture:
        return Change(SplitReason.RESOLUTION_CHANGE, f"{_size(old.picture)} -> {_size(new.picture)}")
    if any(a is not None and b is not None and a != b for a, b in zip(old.structure, new.structure, strict=False)):
        return Change(SplitReason.STREAM_STRUCTURE_CHANGE)
    came_or_went = (bool(old.video), bool(old.audio)) != (bool(new.video), bool(new.audio))
    if after_discontinuity and came_or_went:
        return Change(SplitReason.STREAM_STRUCTURE_CHANGE, f"{_streams(old)} -> {_streams(new)}")
    return None


def merged(old: Layout, new: Layout) -> Layout:
    """What is known of a file after one more segment."""
    known = tuple(a if a is not None else b for a, b in zip(old.structure, new.structure, strict=False))
    return Layout(
        old.video or new.video,
        old.audio or new.audio,
        old.picture or new.picture,
        known or old.structure or new.structure,
    )


def _size(picture: tuple[int, int]) -> str:
    return f"{picture[0]}x{picture[1]}"


def _streams(layout: Layout) -> str:
    return "+".join(filter(None, [layout.video, layout.audio])) or "none"

from __future__ import annotations

import pytest
from media.hls import SplitReason
from media.hls.layout import Layout, change_between, merged

FULL = Layout("h264", "aac", (1280, 720), (1, 256))


@pytest.mark.parametrize(
    ("new", "after_discontinuity", "reason", "detail"),
    [
        (FULL, True, None, ""),
        (Layout("hevc", "aac", (1280, 720), (1, 256)), False, SplitReason.CODEC_CHANGE, "h264 -> hevc"),
        (Layout("h264", "mp3", (1280, 720), (1, 256)), False, SplitReason.CODEC_CHANGE, "aac -> mp3"),
        (Layout("h264", "aac", (640, 360), (1, 256)), False, SplitReason.RESOLUTION_CHANGE, "1280x720 -> 640x360"),
        (Layout("h264", "aac", None, (1, 256)), False, None, ""),
        (Layout("h264", "aac", (1280, 720), (1, 300)), False, SplitReason.STREAM_STRUCTURE_CHANGE, ""),
        (Layout("h264", "aac", (1280, 720), (1, None)), False, None, ""),
        (Layout("h264", "", (1280, 720), (1, 256)), False, None, ""),
        (Layout("h264", "", (1280, 720), (1, 256)), True, SplitReason.STREAM_STRUCTURE_CHANGE, "h264+aac -> h264"),
    ],
)
def test_what_needs_another_file(
    new: Layout, after_discontinuity: bool, reason: SplitReason | None, detail: str
) -> None:
    change = change_between(FULL, new, after_discontinuity)

    assert (change.reason if change else None, change.detail if change else "") == (reason, detail)


def test_what_a_segment_does_not_say_is_filled_in_by_a_later_one() -> None:
    assert merged(Layout("h264", "", None, (1, None)), FULL) == FULL
    assert merged(Layout(), FULL) == FULL
    assert merged(FULL, Layout()) == Layout("h264", "aac", (1280, 720), FULL.structure)

"""Fragmented MP4 (ISO/IEC 14496-12) as far as a recorder needs it: tracks, fragments, timestamps, key frames."""

from media.fmp4.boxes import Box, Mp4Error, boxes
from media.fmp4.fragments import FragmentScan, TrackSpan, mark_of_fragment, scan_fragments, whole_fragments
from media.fmp4.init import InitTracks, Track, parse_init
from media.fmp4.recover import recover_mp4
from media.fmp4.rewrite import duration_patch, rebase, with_duration_box

__all__ = [
    "Box",
    "FragmentScan",
    "InitTracks",
    "Mp4Error",
    "Track",
    "TrackSpan",
    "boxes",
    "duration_patch",
    "mark_of_fragment",
    "parse_init",
    "rebase",
    "recover_mp4",
    "scan_fragments",
    "whole_fragments",
    "with_duration_box",
]

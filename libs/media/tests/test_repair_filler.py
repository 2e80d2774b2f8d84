"""Filler NAL units."""

from __future__ import annotations

import pytest
from media.flv.tag import VIDEO, Tag
from media.repair import RepairKind, RepairLog, RepairOptions
from media.repair.filler import FillerFilter

from libs.media.tests import flv_streams as flv

SLICE, FILLER = flv.nal(0x41, b"slice data"), flv.nal(12, b"\xff" * 50 + b"\x80")
HEVC_SLICE, HEVC_FILLER = flv.nal(1 << 1, b"\x01slice"), flv.nal(38 << 1, b"\x01" + b"\xff" * 30)


def strip(payload: bytes, length_size: int = 4) -> tuple[bytes, RepairLog]:
    log = RepairLog()
    operator = FillerFilter(log)
    operator.nal_length_size = length_size
    tag = Tag.of(VIDEO, 0, payload)
    operator.process([flv.audio(0, 1), tag])
    return bytes(tag.payload), log


@pytest.mark.parametrize(
    ("lead", "keep", "filler"),
    [
        (b"\x27\x01\x00\x00\x00", SLICE, FILLER),
        (b"\x2c\x01\x00\x00\x00", HEVC_SLICE, HEVC_FILLER),
        (b"\xa1hvc1\x00\x00\x00", HEVC_SLICE, HEVC_FILLER),
        (b"\xa3hvc1", HEVC_SLICE, HEVC_FILLER),
        (b"\xa3avc1", SLICE, FILLER),
    ],
)
def test_filler_is_removed_wherever_it_stands(lead, keep, filler):
    for units in ([filler, keep], [keep, filler], [keep, filler, keep, filler]):
        stripped, log = strip(lead + b"".join(units))
        assert stripped == lead + b"".join(unit for unit in units if unit != filler)
        assert [(repair.kind, repair.amount) for repair in log] == [
            (RepairKind.FILLER, units.count(filler) * len(filler))
        ]


def test_a_frame_without_filler_keeps_its_very_bytes():
    payload = b"\x27\x01\x00\x00\x00" + SLICE
    log = RepairLog()
    operator = FillerFilter(log)
    operator.nal_length_size = 4
    tag = Tag.of(VIDEO, 0, payload)
    operator.process([tag])
    assert tag.payload.obj is payload
    assert list(log) == []


def test_two_byte_lengths_are_understood():
    short = (b"\x00\x03\x41ab", b"\x00\x04\x0c\xff\xff\x80")
    stripped, _ = strip(b"\x27\x01\x00\x00\x00" + short[1] + short[0], length_size=2)
    assert stripped == b"\x27\x01\x00\x00\x00" + short[0]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x27",
        b"\x27\x01\x00\x00\x00",
        b"\x27\x01\x00\x00\x00" + FILLER,
        b"\x27\x01\x00\x00\x00" + FILLER + b"\x00\x00\xff\xff\x41",
        b"\x27\x01\x00\x00\x00" + bytes(4) + FILLER,
        b"\x22\x01\x00\x00\x00" + SLICE + FILLER,
    ],
)
def test_what_cannot_be_walked_or_would_be_empty_stays(payload):
    assert strip(payload)[0] == payload


def test_without_nal_units_nothing_is_looked_at():
    assert strip(b"\x27\x01\x00\x00\x00" + SLICE + FILLER, length_size=0)[0].endswith(FILLER)


def test_a_recording_loses_its_filler_and_still_repairs_to_itself():
    source = [flv.video(n * 40, n, key=n % 10 == 0, extra=FILLER) for n in range(30)]
    recording = flv.record(flv.stream(*source))
    assert FILLER not in recording.contents[0]
    assert flv.record(*recording.contents).contents == recording.contents
    kept = flv.record(flv.stream(*source), options=RepairOptions(remove_filler=False))
    assert kept.contents[0].count(FILLER) == 30

"""Repeated and changed sequence headers."""

from __future__ import annotations

from media.flv.tag import AUDIO, Tag
from media.repair import RepairKind, RepairLog
from media.repair.headers import HeaderTracker

from libs.media.tests import flv_streams as flv

OTHER = flv.avc_header(0, flv.avc_record(flv.OTHER_SPS))


def tracker() -> tuple[HeaderTracker, RepairLog]:
    log = RepairLog()
    headers = HeaderTracker(log)
    headers.offer(flv.aac_header())
    headers.offer(flv.avc_header())
    first = headers.resolve()
    assert first is not None
    assert first.tags == (flv.avc_header(), flv.aac_header())
    assert not first.changed
    return headers, log


def kinds(log: RepairLog) -> list[RepairKind]:
    return [repair.kind for repair in log]


def test_a_repeated_header_changes_nothing():
    headers, log = tracker()
    headers.offer(flv.avc_header(5000))
    assert headers.resolve() is None
    assert kinds(log) == [RepairKind.HEADER_REPEATED]


def test_another_header_changes_its_channel_and_keeps_the_other():
    headers, _ = tracker()
    headers.offer(OTHER)
    change = headers.resolve()
    assert change is not None
    assert change.changed
    assert change.tags == (OTHER, flv.aac_header())
    assert change.detail.startswith("avc ")
    assert " -> avc " in change.detail


def test_the_last_of_several_headers_in_a_row_counts():
    headers, log = tracker()
    headers.offer(OTHER)
    headers.offer(flv.avc_header())
    assert headers.resolve() is None
    assert kinds(log) == [RepairKind.HEADER_REPLACED, RepairKind.HEADER_REPEATED]


def test_headers_count_only_once_media_follows():
    headers, _ = tracker()
    headers.offer(OTHER)
    assert headers.has_new
    assert headers.tags()[0] == flv.avc_header()


def test_tracks_have_headers_of_their_own():
    headers, _ = tracker()
    second = Tag.of(AUDIO, 0, b"\x95\x00Opus\x01OpusHead")
    headers.offer(second)
    change = headers.resolve()
    assert change is not None
    assert not change.changed
    assert change.tags == (flv.avc_header(), flv.aac_header(), second)


def test_the_length_of_nal_lengths_is_that_of_the_video_header_in_force():
    headers, _ = tracker()
    assert headers.nal_length_size == 4
    headers.offer(flv.avc_header(0, flv.avc_record(length_size=2)))
    headers.resolve()
    assert headers.nal_length_size == 2
    assert HeaderTracker(RepairLog()).nal_length_size == 0


def test_an_empty_header_is_none():
    # given what ffmpeg sends for the AAC of a transport stream before its first frame
    log = RepairLog()
    headers = HeaderTracker(log)
    headers.offer(flv.avc_header())
    headers.offer(flv.aac_header(config=b""))
    first = headers.resolve()
    assert first is not None
    assert first.tags == (flv.avc_header(),)
    # when the frame has come
    headers.offer(flv.aac_header())
    then = headers.resolve()
    # then it is the first header of its channel
    assert then is not None
    assert then.tags == (flv.avc_header(), flv.aac_header())
    assert not then.changed
    # and an empty one takes nothing back
    headers.offer(flv.aac_header(config=b""))
    assert not headers.has_new

"""Recovery of the file of a killed recorder: wherever it was cut off, what is whole stays and can be sought."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media.flv.errors import FlvError
from media.flv.metadata import KeyframeIndex, carried_fields, encode_metadata, read_metadata, reserved_room
from media.flv.recover import copy_with_index, recover

from libs.media.tests import flv_streams as flv

WHOLE = flv.record(flv.stream(*flv.gops(0, range(20)))).contents[0]
FIRST_MEDIA = WHOLE.index(flv.raw(flv.aac_header())) + len(flv.raw(flv.aac_header()))


def test_a_whole_file_stays_as_it_is():
    file = io.BytesIO(WHOLE)
    recovered = recover(file)
    assert file.getvalue() == WHOLE
    assert (recovered.bytes, recovered.truncated_bytes, recovered.indexed) == (len(WHOLE), 0, True)
    assert recovered.duration_ms == flv.media(WHOLE)[-1].timestamp
    assert recovered.keyframes == 20


@settings(max_examples=100)
@given(st.integers(FIRST_MEDIA, len(WHOLE)))
def test_a_file_cut_anywhere_keeps_its_whole_tags_and_gets_a_true_index(cut):
    file = io.BytesIO(WHOLE[:cut])
    recovered = recover(file)
    content = file.getvalue()
    # Every whole tag is there, and nothing else
    kept = flv.media(content)
    assert kept == flv.media(WHOLE)[: len(kept)]
    assert len(kept) == len(flv.media(WHOLE[:cut]))
    # The metadata tells the truth
    fields = read_metadata(flv.scripts(content)[0].payload)
    assert fields["filesize"] == len(content) == recovered.bytes
    assert fields["duration"] == (kept[-1].timestamp if kept else 0) / 1000
    assert all(position < len(content) for position in fields["keyframes"]["filepositions"])
    # And recovering again changes nothing
    again = recover(file)
    assert (file.getvalue(), again.truncated_bytes, again.duration_ms) == (content, 0, recovered.duration_ms)


def test_a_tail_of_zeros_is_truncated():
    file = io.BytesIO(WHOLE + bytes(10_000))
    assert recover(file).truncated_bytes == 10_000
    assert file.getvalue() == WHOLE


def test_a_tail_that_only_looks_like_a_tag_is_truncated():
    garbage = flv.raw(flv.video(4000, 1, extra=bytes(500)))
    file = io.BytesIO(WHOLE + garbage[:-4] + b"\xde\xad\xbe\xef" + garbage)
    assert recover(file).truncated_bytes == 2 * len(garbage)
    assert file.getvalue() == WHOLE


def test_more_damage_than_a_crash_leaves_is_refused_and_untouched():
    damaged = WHOLE[:FIRST_MEDIA] + bytes(1000) + WHOLE[FIRST_MEDIA:]
    file = io.BytesIO(damaged)
    with pytest.raises(FlvError, match="more than a crash"):
        recover(file, max_truncated=1000)
    assert file.getvalue() == damaged


@pytest.mark.parametrize("content", [b"", b"FLV", b"<html></html>"])
def test_what_is_no_flv_is_refused(content):
    with pytest.raises(FlvError, match="not an FLV"):
        recover(io.BytesIO(content))


def test_a_file_of_another_program_is_truncated_but_not_indexed():
    original = flv.ffmpeg_flv(3)
    file = io.BytesIO(original[:-50])
    recovered = recover(file)
    assert not recovered.indexed
    assert 0 < recovered.truncated_bytes < 2000
    assert flv.media(file.getvalue()) == flv.media(original[:-50])


def test_an_audio_file_is_indexed_by_its_audio():
    whole = flv.record(
        flv.stream(flv.aac_header(), *[flv.audio(n * 23, n) for n in range(400)], headers=False)
    ).contents[0]
    file = io.BytesIO(whole[:-20])
    assert recover(file).keyframes == 0
    fields = read_metadata(flv.scripts(file.getvalue())[0].payload)
    assert len(fields["keyframes"]["times"]) == 5


@pytest.mark.parametrize("size", [0, 8, 2000, 0x7FFFFFFF])
def test_a_header_that_points_nowhere_is_refused_and_the_file_does_not_grow(size):
    file = io.BytesIO(WHOLE[:5] + size.to_bytes(4) + WHOLE[9:])
    before = file.getvalue()
    with pytest.raises(FlvError):
        recover(file)
    assert file.getvalue() == before


@pytest.mark.parametrize("length", [9, 12])
def test_a_file_that_ends_in_its_header_holds_nothing(length):
    file = io.BytesIO(WHOLE[:length])
    recovered = recover(file)
    assert (recovered.bytes, recovered.duration_ms, recovered.keyframes) == (13, 0, 0)
    assert file.getvalue() == WHOLE[:9] + bytes(4)


@settings(max_examples=150)
@given(st.data())
def test_a_patch_that_was_torn_is_completed_by_the_next_one(data):
    # Given a file whose index was being overwritten when the process was killed
    payload = bytes(flv.scripts(WHOLE)[0].payload)
    at = WHOLE.index(payload)
    fields = read_metadata(payload)
    room = reserved_room(fields)
    earlier = KeyframeIndex(room)
    for number in range(data.draw(st.integers(0, 3))):
        earlier.add(2000 * number, 100 + number)
    before = encode_metadata(carried_fields(fields), earlier, duration_ms=77, file_size=5).payload
    torn = data.draw(st.integers(0, min(2000, len(payload))))
    file = io.BytesIO(WHOLE[:at] + payload[:torn] + before[torn:] + WHOLE[at + len(payload) :])
    # When it is indexed again
    if not recover(file).indexed:
        target = io.BytesIO()
        copy_with_index(file, target)
        file = target
    # Then its index is true and its media is whole
    content = file.getvalue()
    assert flv.media(content) == flv.media(WHOLE)
    found = read_metadata(flv.scripts(content)[0].payload)
    assert (found["duration"], found["filesize"]) == (fields["duration"], len(content))
    assert found["keyframes"]["times"] == fields["keyframes"]["times"]
    assert len(content) == len(WHOLE)

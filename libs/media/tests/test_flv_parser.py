"""The incremental parser: any chunking, junk, torn ends, wrong sizes, bounded memory."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media.flv.errors import FlvError
from media.flv.parser import FlvParser
from media.flv.tag import AUDIO, SCRIPT, VIDEO, FlvHeader, Junk, Tag
from media.flv.writer import FlvWriter

from libs.media.tests import flv_streams as flv

TAGS = [flv.avc_header(), flv.aac_header(), *flv.gops(0, range(3))]
CLEAN = flv.stream(*TAGS, headers=False)


def tags_of(items: list) -> list[Tag]:
    return [item for item in items if isinstance(item, Tag)]


def test_a_stream_is_its_header_and_its_tags():
    assert flv.parse(CLEAN) == [FlvHeader(1, 5), *TAGS]


@given(st.lists(st.integers(0, 60), max_size=60))
def test_chunk_boundaries_do_not_matter(sizes):
    parser, items, at = FlvParser(), [], 0
    for size in sizes:
        items += parser.feed(CLEAN[at : at + size])
        at += size
    items += parser.feed(CLEAN[at:])
    assert items == [FlvHeader(1, 5), *TAGS]
    assert parser.buffered == 0


def test_payloads_inside_a_chunk_are_views_of_it():
    items = FlvParser().feed(CLEAN)
    assert all(tag.payload.obj is CLEAN for tag in tags_of(items))


def test_a_mutable_chunk_is_copied():
    # Given a buffer that the reader will reuse
    chunk = bytearray(CLEAN)
    items = FlvParser().feed(chunk)
    # When it is overwritten
    chunk[:] = bytes(len(chunk))
    # Then the tags are what they were
    assert tags_of(items) == TAGS


@pytest.mark.parametrize("sample", [{}, {"video_args": ()}])
def test_a_real_file_survives_a_round_trip_byte_for_byte(sample):
    original = flv.ffmpeg_flv(**sample)
    items = flv.parse(original, chunk=777)
    out = io.BytesIO()
    writer = FlvWriter(out)
    writer.start(items[0])
    writer.write(items[1:])
    assert writer.finish() == len(original)
    assert out.getvalue() == original


def test_the_extended_byte_is_the_high_byte_of_the_timestamp():
    (tag,) = tags_of(flv.parse(flv.FILE_HEADER + flv.raw_tag(VIDEO, 0x89ABCDEF, b"\x27\x01\x00")))
    assert tag.timestamp == 0x89ABCDEF


def test_empty_and_one_byte_payloads_are_plain_tags():
    data = flv.FILE_HEADER + flv.raw_tag(AUDIO, 0, b"") + flv.raw_tag(VIDEO, 1, b"\x17") + flv.raw_tag(SCRIPT, 2, b"")
    tags = tags_of(flv.parse(data))
    assert [(tag.type, tag.size, tag.is_keyframe, tag.is_sequence_header) for tag in tags] == [
        (AUDIO, 0, False, False),
        (VIDEO, 1, False, False),
        (SCRIPT, 0, False, False),
    ]


@pytest.mark.parametrize(
    "junk", [b"\x00", b"HTTP/1.1 200 OK\r\n\r\n", b"\x09" * 50, b"\x08\x00\x00\x05" * 9, b"FLV" * 5]
)
def test_junk_between_tags_is_skipped_and_measured(junk):
    first, second = TAGS[:5], TAGS[5:]
    items = flv.parse(flv.stream(*first, headers=False) + junk + b"".join(map(flv.raw, second)), chunk=50)
    assert tags_of(items) == TAGS
    assert [item.size for item in items if isinstance(item, Junk)] == [len(junk)]


def test_a_tag_that_lost_bytes_is_junk_and_the_next_one_is_found():
    # Given a tag from which the network lost ten bytes
    raw = [flv.raw(tag) for tag in TAGS]
    broken = raw[6][:15] + raw[6][18:]
    # When the stream is parsed
    items = flv.parse(flv.FILE_HEADER + b"".join(raw[:6]) + broken + b"".join(raw[7:]))
    # Then only that tag is missing
    assert tags_of(items) == TAGS[:6] + TAGS[7:]
    assert [item.size for item in items if isinstance(item, Junk)] == [len(broken)]


def test_a_server_that_writes_no_sizes_behind_its_tags_is_understood():
    zeroed = flv.FILE_HEADER + b"".join(flv.raw(tag)[:-4] + bytes(4) for tag in TAGS)
    assert flv.parse(zeroed, chunk=11) == [FlvHeader(1, 5), *TAGS]


def test_a_second_file_header_is_an_item_of_its_own():
    items = flv.parse(CLEAN + CLEAN, chunk=64)
    assert items == [FlvHeader(1, 5), *TAGS] * 2


def test_a_stream_without_file_header_begins_at_its_first_tag():
    assert flv.parse(CLEAN[len(flv.FILE_HEADER) :]) == TAGS


def test_a_longer_file_header_is_skipped():
    header = b"FLV\x01\x04\x00\x00\x00\x0c" + b"xyz" + bytes(4)
    assert flv.parse(header + flv.raw(TAGS[0])) == [FlvHeader(1, 4), TAGS[0]]


def test_the_end_gives_a_last_tag_that_lacks_only_the_size_behind_it():
    assert flv.parse(CLEAN[:-4])[-1] == TAGS[-1]
    assert flv.parse(CLEAN[:-5])[-1] == TAGS[-2]


def test_junk_at_the_end_is_reported():
    assert flv.parse(CLEAN + b"\xff" * 40)[-1] == Junk(40)


def test_what_is_no_flv_is_refused_after_a_bounded_search():
    parser = FlvParser(max_junk=1000)
    with pytest.raises(FlvError, match="1000 bytes"):
        for _ in range(100):
            parser.feed(b"<html>not found</html>")


def test_memory_is_bounded_by_one_tag():
    # Given a header that announces the largest tag there is
    parser = FlvParser()
    parser.feed(flv.FILE_HEADER + b"\x09\xff\xff\xff" + bytes(7))
    # When far more comes than that tag can hold
    peak = 0
    for _ in range(40):
        parser.feed(b"\xff" * (1 << 20))
        peak = max(peak, parser.buffered)
    # Then never more than the tag and a chunk was kept
    assert peak < (18 << 20)


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_are_parsed_or_refused_and_good_tags_after_them_are_found(noise, chunk):
    data = noise + CLEAN
    found = tags_of(flv.parse(data, chunk))
    # A tag of the noise may swallow good ones (its size behind it is confirmed by chance only): the tail is always found.
    assert found[-3:] == TAGS[-3:]

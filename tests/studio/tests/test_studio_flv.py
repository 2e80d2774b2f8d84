"""Tags: reading, classifying, writing."""

from __future__ import annotations

import io

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.studio.ffmpeg import encode_once
from tests.studio.flv import AUDIO, SCRIPT, VIDEO, Tag, TagReader, half_of_first_tag
from tests.studio.loop import LOOP_MS, LoopMedia
from tests.studio.options import RoomOptions

HEADER = b"FLV\x01\x05\0\0\0\x09\0\0\0\0"
TAGS = st.builds(
    Tag, st.sampled_from([AUDIO, VIDEO, SCRIPT]), st.integers(0, 2**32 - 1), st.binary(min_size=0, max_size=300)
)


@given(tags=st.lists(TAGS, max_size=6), cuts=st.lists(st.integers(1, 100), min_size=1))
def test_tags_survive_writing_and_reading_whatever_the_pieces(tags: list[Tag], cuts: list[int]) -> None:
    # given a file in pieces of any size
    data = HEADER + b"".join(tag.encode() for tag in tags)
    reader = TagReader()
    found: list[Tag] = []
    at = turn = 0
    # when they are fed one by one
    while at < len(data):
        size = cuts[turn % len(cuts)]
        found += reader.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    # then the tags are the same
    assert found == tags
    assert reader.header == HEADER


def test_a_stream_that_is_no_flv_is_refused() -> None:
    with pytest.raises(ValueError, match="not an FLV"):
        TagReader().feed(b"RIFF" + b"\0" * 20)


@pytest.mark.parametrize(
    ("tag", "header", "keyframe"),
    [
        (Tag(VIDEO, 0, b"\x17\x00\0\0\0\x01"), True, False),
        (Tag(VIDEO, 0, b"\x17\x01\0\0\0\x01"), False, True),
        (Tag(VIDEO, 0, b"\x17\x02\0\0\0"), False, False),
        (Tag(VIDEO, 0, b"\x27\x01\0\0\0\x01"), False, False),
        (Tag(VIDEO, 0, b"\x1c\x00\0\0\0\x01"), True, False),
        (Tag(VIDEO, 0, b"\x90hvc1\x01"), True, False),
        (Tag(VIDEO, 0, b"\x91hvc1\0\0\0"), False, True),
        (Tag(VIDEO, 0, b"\x93hvc1\0\0\0"), False, True),
        (Tag(VIDEO, 0, b"\xa1hvc1\0\0\0"), False, False),
        (Tag(AUDIO, 0, b"\xaf\x00\x12\x10"), True, False),
        (Tag(AUDIO, 0, b"\xaf\x01\x21\x00"), False, False),
        (Tag(SCRIPT, 0, b"\x02\x00"), False, False),
    ],
)
def test_sequence_headers_and_keyframes_are_told_apart(tag: Tag, header: bool, keyframe: bool) -> None:
    assert (tag.is_sequence_header, tag.is_keyframe) == (header, keyframe)


def test_timestamps_wrap_at_32_bits_and_use_the_extension_byte() -> None:
    encoded = Tag(VIDEO, 0, b"x").encode(0x01_02_03_04)
    assert encoded[4:8] == b"\x02\x03\x04\x01"
    assert Tag(VIDEO, 0, b"x").encode(2**32 + 5)[4:8] == b"\0\0\x05\0"


def test_half_of_a_tag_is_a_header_that_promises_more_than_there_is() -> None:
    whole = Tag(VIDEO, 7, b"0123456789").encode()
    half = half_of_first_tag(whole + whole)
    assert whole.startswith(half)
    assert int.from_bytes(half[1:4], "big") == 10
    assert len(half) == 11 + 5


@pytest.mark.parametrize("video", ["h264", "hevc"])
async def test_the_encoder_s_tags_are_those_that_an_independent_reader_sees(video: str) -> None:
    # given two seconds of the test card
    flv = await encode_once(RoomOptions(video=video), 2)
    tags = TagReader().feed(flv)
    # when PyAV demuxes the same bytes
    with av.open(io.BytesIO(flv)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    frames = [tag for tag in tags if tag.kind == VIDEO and not tag.is_sequence_header]
    # then keyframes, count and times agree
    assert len(packets) == 30
    stamps = [tag.timestamp for tag in frames if tag.body[0] & 0x0F != 4]
    assert stamps == [round(packet.dts * packet.time_base * 1000) for packet in packets]
    assert [tag.timestamp for tag in frames if tag.is_keyframe] == [
        round(packet.dts * packet.time_base * 1000) for packet in packets if packet.is_keyframe
    ]


async def test_a_loop_lasts_exactly_eight_seconds_on_both_tracks() -> None:
    media = await LoopMedia.encode(RoomOptions())
    video = [tag for tag in media.tags if tag.kind == VIDEO]
    audio = [tag for tag in media.tags if tag.kind == AUDIO]
    assert len(video) == 8 * 15
    assert len(audio) == 375
    assert media.tags[0].is_keyframe
    assert len(media.keyframes) == 8
    assert list(media.stamps) == sorted(media.stamps)
    assert media.stamps[-1] < LOOP_MS

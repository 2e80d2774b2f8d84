"""What a tag is, told from its first bytes."""

from __future__ import annotations

import pytest
from media.flv.tag import AUDIO, INVALID, KINDS, SCRIPT, VIDEO, Codec, Tag, classify

KEY, HEADER, END, FRAME = "key", "header", "end", "frame"


def describe(tag: Tag) -> str:
    flags = [(KEY, tag.is_keyframe), (HEADER, tag.is_sequence_header), (END, tag.is_end_of_sequence)]
    return next((name for name, set_ in flags if set_), FRAME if tag.is_media else "script")


@pytest.mark.parametrize(
    ("payload", "codec", "kind"),
    [
        (b"\x17\x00\x00\x00\x00", Codec.AVC, HEADER),
        (b"\x17\x01\x00\x00\x00", Codec.AVC, KEY),
        (b"\x27\x01\x00\x00\x00", Codec.AVC, FRAME),
        (b"\x17\x02\x00\x00\x00", Codec.AVC, END),
        (b"\x1c\x00\x00\x00\x00", Codec.HEVC, HEADER),
        (b"\x1c\x01\x00\x00\x00", Codec.HEVC, KEY),
        (b"\x2c\x01\x00\x00\x00", Codec.HEVC, FRAME),
        (b"\x1d\x00", Codec.AV1, HEADER),
        (b"\x12\x00", Codec.H263, KEY),
        (b"\x24\x00", Codec.VP6, FRAME),
        (b"\x57\x00", Codec.AVC, HEADER),
        (b"\x90hvc1", Codec.HEVC, HEADER),
        (b"\x91hvc1\x00\x00\x00", Codec.HEVC, KEY),
        (b"\xa3hvc1", Codec.HEVC, FRAME),
        (b"\x93avc1", Codec.AVC, KEY),
        (b"\x92av01", Codec.AV1, END),
        (b"\x91av01", Codec.AV1, KEY),
        (b"\x90vp09", Codec.VP9, HEADER),
        (b"\x94av01", Codec.AV1, FRAME),
        (b"\x90vvc1", Codec.VVC, HEADER),
        (b"\x96\x00hvc1\x02", Codec.HEVC, HEADER),
        (b"\x96\x01hvc1\x02", Codec.HEVC, KEY),
        (b"\x90none", Codec.UNKNOWN, HEADER),
    ],
)
def test_video(payload, codec, kind):
    tag = Tag.of(VIDEO, 0, payload)
    assert (tag.codec, describe(tag)) == (codec, kind)


@pytest.mark.parametrize(
    ("payload", "codec", "kind"),
    [
        (b"\xaf\x00\x12\x10", Codec.AAC, HEADER),
        (b"\xaf\x01\x21", Codec.AAC, FRAME),
        (b"\x2f\x00", Codec.MP3, FRAME),
        (b"\xdf\x00", Codec.OPUS, FRAME),
        (b"\x90Opus", Codec.OPUS, HEADER),
        (b"\x91Opus\x00", Codec.OPUS, FRAME),
        (b"\x92Opus", Codec.OPUS, END),
        (b"\x90mp4a", Codec.AAC, HEADER),
        (b"\x90fLaC", Codec.FLAC, HEADER),
        (b"\x91.mp3", Codec.MP3, FRAME),
        (b"\x91ac-3", Codec.AC3, FRAME),
        (b"\x95\x00Opus\x01", Codec.OPUS, HEADER),
        (b"\x95\x01Opus\x01", Codec.OPUS, FRAME),
    ],
)
def test_audio(payload, codec, kind):
    tag = Tag.of(AUDIO, 0, payload)
    assert (tag.codec, describe(tag)) == (codec, kind)


def test_a_multitrack_tag_names_its_track():
    tag = Tag.of(VIDEO, 0, b"\x96\x01hvc1\x02")
    assert (tag.fourcc, tag.track, tag.is_multitrack) == (b"hvc1", 2, True)
    assert Tag.of(VIDEO, 0, b"\x17\x01\x00\x00\x00\x00\x09").track == 0


def test_a_script_tag_is_no_media_and_has_no_codec():
    tag = Tag.of(SCRIPT, 0, b"\x02\x00\x0aonMetaData")
    assert describe(tag) == "script"
    assert tag.codec is Codec.UNKNOWN
    assert tag.fourcc is None


def test_a_tag_type_that_flv_does_not_know_is_invalid():
    assert {classify(kind, 0, 0) for kind in range(256)} >= {INVALID}
    assert [kind for kind in range(256) if classify(kind, 0, 0) != INVALID] == [AUDIO, VIDEO, SCRIPT]


def test_the_cache_of_kinds_is_bounded_and_still_right():
    for key in range(VIDEO << 16, (VIDEO << 16) + 20_000):
        KINDS[key]
    assert len(KINDS) <= 8192
    assert KINDS[VIDEO << 16 | 0x1701] == classify(VIDEO, 0x17, 1)


def test_a_payload_above_24_bits_is_refused():
    with pytest.raises(ValueError, match="16 MiB"):
        Tag.of(VIDEO, 0, bytes(1 << 24))


def test_tags_compare_by_type_time_and_bytes():
    tag = Tag.of(VIDEO, 5, b"\x27\x01")
    assert tag == Tag.of(VIDEO, 5, memoryview(b"\x27\x01"))
    assert tag != Tag.of(VIDEO, 6, b"\x27\x01")
    assert tag != "tag"
    assert "timestamp=5" in repr(tag)

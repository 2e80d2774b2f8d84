from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urljoin

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from media.hls import (
    ByteRange,
    KeyTag,
    MapTag,
    MasterPlaylist,
    MediaPlaylist,
    Part,
    PlaylistError,
    PlaylistLimits,
    PreloadHint,
    decode_playlist,
    parse_playlist,
)
from media.hls.attributes import absolute_url

URL = "https://cdn.example/live/index.m3u8?token=1"


def parse_media(*lines: str, url: str = URL) -> MediaPlaylist:
    playlist = parse_playlist("\n".join(["#EXTM3U", *lines]), url)
    assert isinstance(playlist, MediaPlaylist)
    return playlist


def test_a_live_playlist() -> None:
    playlist = parse_media(
        "#EXT-X-VERSION:6",
        "#EXT-X-TARGETDURATION:4",
        "#EXT-X-MEDIA-SEQUENCE:118",
        "#EXT-X-DISCONTINUITY-SEQUENCE:3",
        "",
        "# a comment",
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:00.500+0100",
        "#EXTINF:4.004,First, with a comma",
        "a/118.ts",
        "#EXT-X-DISCONTINUITY",
        "#EXTINF:3,",
        "https://other.example/119.ts?x=1",
        "#EXT-X-GAP",
        "#EXTINF:3,",
        "/120.ts",
        "#EXT-X-UNKNOWN:whatever",
    )

    first, second, third = playlist.segments
    assert (playlist.target_duration, playlist.version, playlist.ended, playlist.next_sequence) == (4, 6, False, 121)
    assert (first.sequence, first.uri) == (118, "https://cdn.example/live/a/118.ts")
    assert (first.duration, first.title) == (4.004, "First, with a comma")
    assert first.program_date_time == datetime(2026, 3, 1, 11, 0, 0, 500_000, UTC)
    assert (second.uri, second.discontinuity, second.discontinuity_sequence) == (
        "https://other.example/119.ts?x=1",
        True,
        4,
    )
    assert second.program_date_time is None  # a date is not carried across a discontinuity
    assert (third.uri, third.gap, third.discontinuity_sequence) == ("https://cdn.example/120.ts", True, 4)


def test_dates_are_carried_forward_by_durations() -> None:
    playlist = parse_media(
        "#EXT-X-TARGETDURATION:2", "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z", "#EXTINF:2,", "a", "#EXTINF:2,", "b"
    )

    assert playlist.segments[1].program_date_time == datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)


def test_keys_and_inits_stay_in_force_until_they_change() -> None:
    playlist = parse_media(
        "#EXT-X-TARGETDURATION:2",
        '#EXT-X-MAP:URI="init.mp4",BYTERANGE="600@0"',
        "#EXTINF:2,",
        "0.m4s",
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://drm",KEYFORMAT="com.apple.streamingkeydelivery"',
        '#EXT-X-KEY:METHOD=AES-128,URI="k1",IV=0x0102030405060708090a0b0c0d0e0f10',
        "#EXTINF:2,",
        "1.m4s",
        '#EXT-X-MAP:URI="init2.mp4"',
        "#EXTINF:2,",
        "2.m4s",
        "#EXT-X-KEY:METHOD=NONE",
        "#EXTINF:2,",
        "3.m4s",
    )

    plain, encrypted, mapped, last = playlist.segments
    key = KeyTag("AES-128", "https://cdn.example/live/k1", bytes(range(1, 17)))
    assert plain.init == MapTag("https://cdn.example/live/init.mp4", ByteRange(0, 600))
    assert (plain.key, encrypted.key) == (None, key)
    assert mapped.init == MapTag("https://cdn.example/live/init2.mp4", None, key)
    assert (last.key, last.init) == (None, mapped.init)


def test_byte_ranges_continue_their_predecessor() -> None:
    playlist = parse_media(
        "#EXT-X-TARGETDURATION:2",
        "#EXTINF:2,",
        "#EXT-X-BYTERANGE:100@50",
        "all.ts",
        "#EXTINF:2,",
        "#EXT-X-BYTERANGE:70",
        "all.ts",
    )

    assert [segment.byte_range for segment in playlist.segments] == [ByteRange(50, 100), ByteRange(150, 70)]
    assert ByteRange(150, 70).header == "bytes=150-219"


def test_a_byte_range_continues_one_that_left_the_window() -> None:
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:8\n#EXTINF:2,\n#EXT-X-BYTERANGE:70\nall.ts"
    known = {7: ("https://cdn.example/live/all.ts", ByteRange(50, 100))}

    playlist = parse_playlist(text, URL, previous_ranges=known)

    assert isinstance(playlist, MediaPlaylist)
    assert playlist.segments[0].byte_range == ByteRange(150, 70)
    with pytest.raises(PlaylistError, match="predecessor"):
        parse_playlist(text, URL)


def test_low_latency_tags() -> None:
    playlist = parse_media(
        "#EXT-X-TARGETDURATION:4",
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0,CAN-SKIP-UNTIL=24.0",
        "#EXT-X-PART-INF:PART-TARGET=0.33334",
        "#EXT-X-MEDIA-SEQUENCE:266",
        '#EXT-X-PART:DURATION=0.33334,URI="266.0.mp4",INDEPENDENT=YES',
        '#EXT-X-PART:DURATION=0.33334,URI="266.mp4",BYTERANGE="10@20"',
        '#EXT-X-PART:DURATION=0.33334,URI="266.mp4",BYTERANGE="5",GAP=YES',
        "#EXTINF:1,",
        "266.mp4",
        '#EXT-X-PART:DURATION=0.5,URI="267.0.mp4"',
        '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="267.1.mp4",BYTERANGE-START=7',
        '#EXT-X-RENDITION-REPORT:URI="../1M/i.m3u8",LAST-MSN=273',
    )

    base = "https://cdn.example/live/"
    assert playlist.server_control.can_block_reload
    assert (playlist.server_control.part_hold_back, playlist.part_target) == (1.0, 0.33334)
    assert playlist.segments[0].parts == (
        Part(base + "266.0.mp4", 0.33334, independent=True),
        Part(base + "266.mp4", 0.33334, byte_range=ByteRange(20, 10)),
        Part(base + "266.mp4", 0.33334, gap=True, byte_range=ByteRange(30, 5)),
    )
    assert playlist.trailing_parts == (Part(base + "267.0.mp4", 0.5),)
    assert playlist.trailing is not None
    assert playlist.trailing.sequence == 267
    assert playlist.preload_hints == (PreloadHint("PART", base + "267.1.mp4", 7),)


def test_a_delta_update_counts_what_it_leaves_out() -> None:
    playlist = parse_media(
        "#EXT-X-TARGETDURATION:4", "#EXT-X-MEDIA-SEQUENCE:10", "#EXT-X-SKIP:SKIPPED-SEGMENTS=3", "#EXTINF:4,", "13.ts"
    )

    assert playlist.segments[0].sequence == 13


def test_twitch_prefetch_and_advertising() -> None:
    playlist = parse_media(
        "#EXT-X-TARGETDURATION:6",
        "#EXT-X-MEDIA-SEQUENCE:5",
        '#EXT-X-DATERANGE:ID="stitched-ad-1",CLASS="other",START-DATE="2026-01-01T00:00:02Z",DURATION=2.0',
        '#EXT-X-DATERANGE:ID="x",CLASS="twitch-stitched-ad",START-DATE="2026-01-01T00:00:03Z",'
        'END-DATE="2026-01-01T00:00:06Z",X-TV-TWITCH-AD-URL="u"',
        '#EXT-X-DATERANGE:ID="y",CLASS="twitch-session",START-DATE="2026-01-01T00:00:00Z"',
        "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z",
        "#EXTINF:2.000,live",
        "5.ts",
        "#EXTINF:2.000,live",
        "6.ts",
        "#EXTINF:2.000,live",
        "7.ts",
        "#EXTINF:2.000,live",
        "8.ts",
        "#EXTINF:2.000,Amazon|123",
        "9.ts",
        "#EXT-X-TWITCH-PREFETCH:https://v.example/10.ts",
        "#EXT-X-TWITCH-PREFETCH:https://v.example/11.ts",
    )

    assert [segment.ad for segment in playlist.segments] == [False, True, True, False, True, False, False]
    assert [segment.prefetch for segment in playlist.segments] == [False] * 5 + [True] * 2
    assert [segment.sequence for segment in playlist.segments[5:]] == [10, 11]
    assert playlist.segments[6].duration == 2.0
    assert playlist.date_ranges[1].attributes == (("X-TV-TWITCH-AD-URL", "u"),)


def test_variables_are_replaced() -> None:
    playlist = parse_media(
        '#EXT-X-DEFINE:NAME="host",VALUE="https://v.example"',
        '#EXT-X-DEFINE:QUERYPARAM="token"',
        "#EXT-X-TARGETDURATION:2",
        "#EXTINF:2,",
        "{$host}/a.ts?t={$token}&u={$unknown}",
    )

    assert playlist.segments[0].uri == "https://v.example/a.ts?t=1&u={$unknown}"


def test_a_master_playlist() -> None:
    master = parse_playlist(
        "\ufeff#EXTM3U\r\n"
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="English",LANGUAGE="en",DEFAULT=YES,URI="audio.m3u8"\r\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=1280000,AVERAGE-BANDWIDTH=1000000,CODECS="avc1.64001f,mp4a.40.2",'
        'RESOLUTION=1280x720,FRAME-RATE=59.940,AUDIO="a"\r\n'
        "# comment\r\n"
        "720/index.m3u8\r\n",
        URL,
    )

    assert isinstance(master, MasterPlaylist)
    (variant,) = master.variants
    assert variant.uri == "https://cdn.example/live/720/index.m3u8"
    assert (variant.bandwidth, variant.average_bandwidth, variant.width, variant.height) == (
        1_280_000,
        1_000_000,
        1280,
        720,
    )
    assert (variant.codecs, variant.frame_rate, variant.audio_group) == (("avc1.64001f", "mp4a.40.2"), 59.94, "a")
    assert master.renditions[0].uri == "https://cdn.example/live/audio.m3u8"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>not found</html>",
        "#EXTM3U",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n",
        "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd",
        "#EXTM3U\n#EXTINF:1,\nhttp://[broken",
        "#EXTM3U\n#EXTINF:1,\nx\n#EXT-X-MAP:BYTERANGE=1",
    ],
)
def test_what_cannot_be_followed_is_refused(text: str) -> None:
    with pytest.raises(PlaylistError):
        parse_playlist(text, URL)


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        (PlaylistLimits(max_chars=50), "size"),
        (PlaylistLimits(max_line_chars=20), "line"),
        (PlaylistLimits(max_segments=2), "segments"),
        (PlaylistLimits(max_parts=1), "parts"),
        (PlaylistLimits(max_date_ranges=1), "date ranges"),
    ],
)
def test_limits_are_enforced(limits: PlaylistLimits, match: str) -> None:
    text = (
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n"
        + '#EXT-X-DATERANGE:ID="a"\n' * 2
        + '#EXT-X-PART:DURATION=1,URI="p"\n' * 2
        + "#EXTINF:1,\nx\n" * 3
    )

    assert len(parse_media(*text.splitlines()[1:]).segments) == 3
    with pytest.raises(PlaylistError, match=match):
        parse_playlist(text, URL, limits=limits)


def test_growth_by_variables_is_bounded() -> None:
    bomb = '#EXTM3U\n#EXT-X-DEFINE:NAME="a",VALUE="' + "x" * 10_000 + '"\n#EXTINF:1,\n' + "{$a}" * 30

    with pytest.raises(PlaylistError, match="grew"):
        parse_playlist(bomb, URL)


def test_bodies_are_decoded_with_a_bound() -> None:
    assert decode_playlist(b"\xef\xbb\xbf#EXTM3U\xff") == "#EXTM3U\ufffd"
    with pytest.raises(PlaylistError, match="size"):
        decode_playlist(b"x" * 100, limits=PlaylistLimits(max_chars=99))


_BASES = [
    "https://h.example/a/b/i.m3u8?t=/x/y",
    "http://h:8080/i.m3u8",
    "https://h.example/",
    "https://h.example/a/b/?q#f",
]


@given(st.sampled_from(_BASES), st.text("ab/.?&=#%-_~1", max_size=24))
@example(_BASES[0], "https://c.example/x/../y.ts?a=b")
@example(_BASES[0], "a/../b.ts")
@example(_BASES[0], "//c.example/x.ts")
@example(_BASES[0], "x/.hidden")
def test_quick_resolution_agrees_with_the_standard_library(base: str, reference: str) -> None:
    assert absolute_url(base, reference) == urljoin(base, reference)


_VALUES = st.one_of(
    st.sampled_from(
        ['"x"', "YES", "NONE", "AES-128", "0x1", "1@2", '"5@"', "1e9", "-1", "nan", "1280x720", '"', ",", "="]
    ),
    st.text(max_size=12),
    st.integers(min_value=-10, max_value=2**70).map(str),
)
_TAG_NAMES = """
EXTINF EXT-X-BYTERANGE EXT-X-DISCONTINUITY EXT-X-GAP EXT-X-PROGRAM-DATE-TIME EXT-X-KEY EXT-X-MAP EXT-X-DATERANGE
EXT-X-PART EXT-X-PRELOAD-HINT EXT-X-TWITCH-PREFETCH EXT-X-MEDIA-SEQUENCE EXT-X-DISCONTINUITY-SEQUENCE
EXT-X-TARGETDURATION EXT-X-VERSION EXT-X-ENDLIST EXT-X-PLAYLIST-TYPE EXT-X-SERVER-CONTROL EXT-X-PART-INF EXT-X-SKIP
EXT-X-DEFINE EXT-X-STREAM-INF EXT-X-MEDIA
"""
_ATTRIBUTE_NAMES = """
URI METHOD IV KEYFORMAT BYTERANGE DURATION ID CLASS START-DATE END-DATE NAME VALUE QUERYPARAM IMPORT BANDWIDTH
RESOLUTION CODECS TYPE GROUP-ID SKIPPED-SEGMENTS PART-TARGET BYTERANGE-START
"""
_TAGS, _NAMES = st.sampled_from(_TAG_NAMES.split()), st.sampled_from(_ATTRIBUTE_NAMES.split())
_ATTRIBUTES = st.lists(st.tuples(_NAMES, _VALUES).map("=".join), max_size=4).map(",".join)
_LINES = st.one_of(
    st.tuples(_TAGS, st.one_of(_VALUES, _ATTRIBUTES)).map(lambda pair: f"#{pair[0]}:{pair[1]}"),
    st.text(max_size=20),
    st.just("#EXTINF:2,\nseg.ts"),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_LINES, max_size=25).map("\n".join), st.sampled_from([URL, "", "http://[", "relative.m3u8"]))
def test_no_text_makes_the_parser_do_anything_but_answer_or_refuse(text: str, url: str) -> None:
    for candidate in (text, "#EXTM3U\n" + text):
        try:
            playlist = parse_playlist(candidate, url)
        except PlaylistError:
            continue
        if isinstance(playlist, MediaPlaylist):
            numbers = [segment.sequence for segment in playlist.segments]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
            assert all(0 <= segment.duration <= 86_400 for segment in playlist.segments)

"""Which source is taken when a channel has several."""

import pytest
from chassis.egress import EgressPolicy
from contracts.values import Effective, Selection, Source

from services.downloader.adapters.engine import SourcesUnavailable
from services.downloader.adapters.network import Access
from services.downloader.adapters.program_feed import spoken
from services.downloader.adapters.selection import best

FLV = Source(
    url="http://cn-one.example/a.flv", protocol="flv", container="flv", codec="avc", bitrate=4_000_000, priority=0
)
TS = Source(
    url="http://cn-two.example/a.m3u8", protocol="hls", container="ts", codec="avc", bitrate=6_000_000, priority=1
)
MP4 = Source(
    url="http://gotcha.example/b.m3u8",
    protocol="hls",
    container="fmp4",
    codec="hev1.1.6",
    bitrate=9_000_000,
    priority=2,
)
UNKNOWN = Source(url="http://other.example/c.flv", protocol="flv", container="flv", priority=3)
ALL = (FLV, TS, MP4, UNKNOWN)


def chosen(failures=lambda source: 0.0, protocol="any", **selection):
    return best(ALL, Effective(selection=Selection(**selection), protocol=protocol), failures)


@pytest.mark.parametrize(
    ("selection", "source"),
    [
        ({}, FLV),
        ({"formats": ("fmp4", "hls")}, MP4),
        ({"formats": ("HLS",)}, TS),
        ({"codecs": ("h265",)}, MP4),
        ({"codecs": ("av1", "h264")}, FLV),
        ({"prefer_cdns": ("gotcha", "cn-two")}, MP4),
        ({"prefer_cdns": ("nobody", "CN-TWO")}, TS),
        ({"block_cdns": ("cn-",)}, MP4),
        ({"min_bitrate": 5_000_000}, TS),
        ({"min_bitrate": 5_000_000, "block_cdns": ("cn-two",)}, MP4),
        ({"max_bitrate": 3_000_000}, UNKNOWN),
    ],
)
def test_exclusions_and_wishes(selection, source):
    assert chosen(**selection) == source


def test_a_wish_does_not_hold_on_to_a_source_that_keeps_breaking():
    assert chosen(lambda source: 3.0 if source == MP4 else 0.0, codecs=("hevc",)) == FLV


def test_the_format_is_a_narrower_wish_than_the_protocol():
    assert chosen(protocol="flv", formats=("fmp4",)) == MP4


def test_what_is_blocked_is_not_taken_for_lack_of_another():
    with pytest.raises(SourcesUnavailable, match="excludes"):
        chosen(block_cdns=("example",))


def test_an_address_that_is_none_is_chosen_like_another_and_fails_when_it_is_played():
    broken = Source(url="http://[broken/a.flv", protocol="flv")
    assert best([broken], Effective(selection=Selection(block_cdns=("x",))), lambda _: 0.0) == broken


def test_a_header_of_a_source_that_would_break_requests_is_left_out():
    told = {"Referer": "https://a.example/", "X-Bad": "a\r\nHost: b", "No Name": "x", "X-Zero": "\0"}
    sent = Access(EgressPolicy()).headers(FLV.model_copy(update={"headers": told}))
    assert sent.keys() & told.keys() == {"Referer"}


@pytest.mark.parametrize(
    ("complaints", "told"),
    [
        ("first\nrtmp://a.example/live/key: refused by 1.2.3.4\n", "… refused by 1.2.3.4"),
        ("set Cookie=abc and\tme@b.example", "set … and …"),
        ("a" * 5000, "a" * 200),
        (" \n", "it said nothing"),
    ],
)
def test_the_last_words_of_a_program_name_no_address_and_no_secret(complaints, told):
    assert spoken(complaints) == told

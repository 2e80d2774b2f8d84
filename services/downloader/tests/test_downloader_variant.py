"""Which variant of a master playlist is taken, by quality and by the selection."""

import pytest
from contracts.values import Selection
from media.hls import PlaylistError, parse_playlist

from services.downloader.adapters.variant import NothingAdmitted, admitted, variant_of, whole_variants

MASTER = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=5000000,RESOLUTION=1920x1080,NAME="source"
high.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=2000000,RESOLUTION=1280x720,NAME="medium"
middle.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=500000,RESOLUTION=640x360,NAME="low"
small.m3u8
"""


@pytest.mark.parametrize(
    ("quality", "uri"),
    [
        ("best", "high"),
        ("", "high"),
        ("worst", "small"),
        ("720p", "middle"),
        ("720p60", "middle"),
        ("900", "middle"),
        ("1800k", "middle"),
        ("Low", "small"),
        ("unheard of", "high"),
    ],
)
def test_the_wanted_quality_chooses_the_variant(quality, uri):
    master = parse_playlist(MASTER, "http://x/master.m3u8")
    assert variant_of(master, quality).uri == f"http://x/{uri}.m3u8"


CODECS = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=9000000,AVERAGE-BANDWIDTH=7000000,RESOLUTION=1920x1080,CODECS="hvc1.1.6,mp4a.40.2"
http://one.example/hevc.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=5000000,RESOLUTION=1920x1080,CODECS="avc1.640028,mp4a.40.2"
http://one.example/avc.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=5000000,RESOLUTION=1920x1080,CODECS="avc1.640028,mp4a.40.2"
http://two.example/avc.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=800000,RESOLUTION=640x360,CODECS="avc1.640028,mp4a.40.2"
http://two.example/small.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=400000,RESOLUTION=640x360,CODECS="avc1.640028"
http://two.example/silent.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=100000,CODECS="mp4a.40.2"
http://two.example/sound.m3u8
"""


@pytest.mark.parametrize(
    ("quality", "selection", "uri"),
    [
        ("best", {}, "one.example/hevc"),
        ("best", {"codecs": ("av1", "H264")}, "one.example/avc"),
        ("worst", {"codecs": ("h265",)}, "one.example/hevc"),
        ("best", {"codecs": ("av1",)}, "one.example/hevc"),
        ("best", {"max_bitrate": 7_000_000}, "one.example/hevc"),
        ("best", {"max_bitrate": 6_999_999}, "one.example/avc"),
        ("worst", {"min_bitrate": 700_000}, "two.example/small"),
        ("best", {"codecs": ("avc",), "prefer_cdns": ("nobody", "TWO.")}, "two.example/avc"),
        ("best", {"block_cdns": ("one.",)}, "two.example/avc"),
        ("audio", {"codecs": ("hevc",)}, "two.example/sound"),
        ("video", {}, "two.example/silent"),
    ],
)
def test_the_selection_holds_inside_of_a_master_playlist_too(quality, selection, uri):
    master, wanted = parse_playlist(CODECS, "http://x/master.m3u8"), Selection(**selection)
    assert variant_of(admitted(master, wanted), quality, wanted).uri == f"http://{uri}.m3u8"


def test_a_blocked_variant_is_not_taken_for_lack_of_another():
    with pytest.raises(NothingAdmitted):
        admitted(parse_playlist(CODECS, "http://x/master.m3u8"), Selection(block_cdns=("example",)))


def test_variants_without_their_own_sound_are_not_chosen():
    text = MASTER.replace(
        "#EXTM3U\n", '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",URI="a.m3u8",DEFAULT=YES\n'
    )
    demuxed_best = text.replace('NAME="source"', 'NAME="source",AUDIO="a"')
    assert variant_of(whole_variants(parse_playlist(demuxed_best, "http://x/m")), "best").uri == "http://x/middle.m3u8"
    all_demuxed = text.replace('NAME="', 'AUDIO="a",NAME="', 4).replace(
        'TYPE=AUDIO,GROUP-ID="a",AUDIO="a",', 'TYPE=AUDIO,GROUP-ID="a",'
    )
    with pytest.raises(PlaylistError, match="sound"):
        whole_variants(parse_playlist(all_demuxed, "http://x/m"))

from __future__ import annotations

import pytest
from media.hls import (
    MasterPlaylist,
    PlaylistError,
    Rendition,
    Variant,
    VariantKind,
    VariantPolicy,
    audio_rendition,
    choose_variant,
)

SOURCE = Variant("source", 8_000_000, width=1920, height=1080, frame_rate=60, codecs=("avc1.64002A", "mp4a.40.2"))
HEVC = Variant("hevc", 9_000_000, width=1920, height=1080, codecs=("hvc1.1", "mp4a.40.2"), audio_group="aac")
MIDDLE = Variant("middle", 3_000_000, width=1280, height=720, codecs=("avc1.4D401F", "mp4a.40.2"), name="720p")
SMALL = Variant("small", 600_000, width=640, height=360, codecs=("avc1.4D401E", "mp4a.40.2"))
SILENT = Variant("silent", 500_000, width=640, height=360, codecs=("avc1.4D401E",))
SOUND = Variant("sound", 160_000, codecs=("mp4a.40.2",), video_group="audio_only")
MASTER = MasterPlaylist("https://x.example/m.m3u8", (MIDDLE, SOUND, SOURCE, SMALL, HEVC, SILENT))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (VariantPolicy(), HEVC),
        (VariantPolicy(codecs=("avc1",)), SOURCE),
        (VariantPolicy(codecs=("vp09",)), HEVC),
        (VariantPolicy(VariantKind.LOWEST), SILENT),
        (VariantPolicy(VariantKind.CLOSEST_BANDWIDTH, bandwidth=2_500_000), MIDDLE),
        (VariantPolicy(VariantKind.RESOLUTION, height=720), MIDDLE),
        (VariantPolicy(VariantKind.RESOLUTION, height=900), MIDDLE),
        (VariantPolicy(VariantKind.RESOLUTION, height=240), SMALL),
        (VariantPolicy(VariantKind.AUDIO_ONLY), SOUND),
        (VariantPolicy(VariantKind.VIDEO_ONLY), SILENT),
        (VariantPolicy(VariantKind.NAME, name="720P"), MIDDLE),
    ],
)
def test_policy(policy: VariantPolicy, expected: Variant) -> None:
    assert choose_variant(MASTER, policy) is expected


def test_sound_is_better_than_nothing_when_there_is_no_picture() -> None:
    assert choose_variant(MasterPlaylist("u", (SOUND,)), VariantPolicy()) is SOUND


@pytest.mark.parametrize(
    "policy",
    [
        VariantPolicy(VariantKind.NAME, name="absent"),
        VariantPolicy(VariantKind.NAME),
        VariantPolicy(VariantKind.RESOLUTION),
        VariantPolicy(VariantKind.CLOSEST_BANDWIDTH),
    ],
)
def test_a_policy_that_leaves_nothing_is_an_error(policy: VariantPolicy) -> None:
    with pytest.raises(PlaylistError):
        choose_variant(MASTER, policy)


def test_separate_audio_is_found() -> None:
    english = Rendition("AUDIO", "aac", "English", uri="en.m3u8")
    german = Rendition("AUDIO", "aac", "Deutsch", uri="de.m3u8", default=True)
    inside = Rendition("AUDIO", "muxed", "Main", uri=None, default=True)
    master = MasterPlaylist("u", (HEVC, SOURCE), (english, german, inside))

    assert audio_rendition(master, HEVC) is german
    assert audio_rendition(master, SOURCE) is None
    assert audio_rendition(master, Variant("m", 1, audio_group="muxed")) is None

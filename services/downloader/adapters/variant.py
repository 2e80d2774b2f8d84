"""Which variant of a master playlist is the one that is wanted."""

from __future__ import annotations

import re
from dataclasses import replace

from contracts.values import Selection
from media.hls import (
    MasterPlaylist,
    PlaylistError,
    Variant,
    VariantKind,
    VariantPolicy,
    audio_rendition,
    choose_variant,
)

from services.downloader.adapters.selection import cdn_place, is_codec, is_excluded, place_in

_HEIGHT = re.compile(r"(\d{3,4})p?\d*\Z")
_RATE = re.compile(r"(\d{2,6})k\Z")


class NothingAdmitted(PlaylistError):
    """The selection excludes every variant: what somebody blocked is not taken for lack of another."""


class SeparateSound(PlaylistError):
    """Every variant has its sound in a playlist of its own, which only an engine that joins them can record."""


def admitted(master: MasterPlaylist, selection: Selection) -> MasterPlaylist:
    """Only the variants that a selection does not exclude, those of preferred hosts first; raises NothingAdmitted.

    A variant's bitrate is its average where the playlist tells it, else its peak (RFC 8216 §4.3.4.2).
    """
    left = [one for one in master.variants if not is_excluded(one.uri, _bitrate(one), selection)]
    if not left:
        raise NothingAdmitted("the selection excludes every variant")
    left.sort(key=lambda one: cdn_place(one.uri, selection))
    return replace(master, variants=tuple(left))


def whole_variants(master: MasterPlaylist) -> MasterPlaylist:
    """Only the variants that carry their sound themselves; raises SeparateSound when there is none."""
    whole = tuple(variant for variant in master.variants if audio_rendition(master, variant) is None)
    if not whole:
        raise SeparateSound("every variant has its sound in a playlist of its own")
    return MasterPlaylist(master.url, whole, master.renditions)


def variant_of(master: MasterPlaylist, quality: str, selection: Selection | None = None) -> Variant:
    """The variant of a wanted quality, else the best; raises PlaylistError.

    Qualities are ``best``, ``worst``, ``720p``, ``2500k`` (the closest bitrate), ``audio``, ``video``, or a name. Of several codecs the one
    that the selection wishes for first is taken, where there is a choice; a wish for sound alone is not led astray by it.
    """
    policy = _policy(quality.strip().lower())
    if selection is not None and policy.kind is not VariantKind.AUDIO_ONLY:
        master = _in_wanted_codec(master, selection)
    try:
        return choose_variant(master, policy)
    except PlaylistError:
        return choose_variant(master)


def _in_wanted_codec(master: MasterPlaylist, selection: Selection) -> MasterPlaylist:
    def place(variant: Variant) -> int:
        return place_in(selection.codecs, lambda wish: any(is_codec(codec, wish) for codec in variant.codecs))

    first = min(map(place, master.variants), default=0)
    return replace(master, variants=tuple(one for one in master.variants if place(one) == first))


def _bitrate(variant: Variant) -> int:
    return variant.average_bandwidth or variant.bandwidth


def _policy(quality: str) -> VariantPolicy:
    if quality in ("", "best", "source", "highest"):
        return VariantPolicy()
    if quality in ("worst", "lowest"):
        return VariantPolicy(VariantKind.LOWEST)
    if quality in ("audio", "audio_only"):
        return VariantPolicy(VariantKind.AUDIO_ONLY)
    if quality in ("video", "video_only"):
        return VariantPolicy(VariantKind.VIDEO_ONLY)
    rate = _RATE.match(quality)
    if rate is not None:
        return VariantPolicy(VariantKind.CLOSEST_BANDWIDTH, bandwidth=int(rate[1]) * 1000)
    height = _HEIGHT.match(quality)
    if height is not None:
        return VariantPolicy(VariantKind.RESOLUTION, height=int(height[1]))
    return VariantPolicy(VariantKind.NAME, name=quality)

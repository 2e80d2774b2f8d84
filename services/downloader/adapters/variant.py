"""Which variant of a master playlist is the one of the wanted quality."""

from __future__ import annotations

import re

from media.hls import (
    MasterPlaylist,
    PlaylistError,
    Variant,
    VariantKind,
    VariantPolicy,
    audio_rendition,
    choose_variant,
)

_HEIGHT = re.compile(r"(\d{3,4})p?\d*\Z")


class SeparateSound(PlaylistError):
    """Every variant has its sound in a playlist of its own, which only an engine that joins them can record."""


def whole_variants(master: MasterPlaylist) -> MasterPlaylist:
    """Only the variants that carry their sound themselves; raises SeparateSound when there is none."""
    whole = tuple(variant for variant in master.variants if audio_rendition(master, variant) is None)
    if not whole:
        raise SeparateSound("every variant has its sound in a playlist of its own")
    return MasterPlaylist(master.url, whole, master.renditions)


def variant_of(master: MasterPlaylist, quality: str) -> Variant:
    """The variant of a wanted quality (``best``, ``worst``, ``720p``, ``audio``, or a name), else the best; raises PlaylistError."""
    try:
        return choose_variant(master, _policy(quality.strip().lower()))
    except PlaylistError:
        return choose_variant(master)


def _policy(quality: str) -> VariantPolicy:
    if quality in ("", "best", "source", "highest"):
        return VariantPolicy()
    if quality in ("worst", "lowest"):
        return VariantPolicy(VariantKind.LOWEST)
    if quality in ("audio", "audio_only"):
        return VariantPolicy(VariantKind.AUDIO_ONLY)
    height = _HEIGHT.match(quality)
    if height is not None:
        return VariantPolicy(VariantKind.RESOLUTION, height=int(height[1]))
    return VariantPolicy(VariantKind.NAME, name=quality)

"""Which variant of a master playlist is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from media.hls.playlist import MasterPlaylist, PlaylistError, Rendition, Variant

_AUDIO_CODECS = ("mp4a", "ac-3", "ec-3", "opus", "flac", "alac", "mp3")
_VIDEO_CODECS = ("avc", "hvc", "hev", "av01", "vp0", "vp8", "vp9", "dvh")


class VariantKind(StrEnum):
    """The rule that picks."""

    HIGHEST = "highest"
    LOWEST = "lowest"
    CLOSEST_BANDWIDTH = "closest_bandwidth"
    RESOLUTION = "resolution"
    AUDIO_ONLY = "audio_only"
    VIDEO_ONLY = "video_only"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class VariantPolicy:
    """What to look for; ``bandwidth`` in bits per second, ``height`` in lines.

    ``codecs`` are prefixes such as ``avc1``: when any variant has one of them, the others are not considered; when none
    has, the wish is dropped, because a recording in another codec is worth more than none.
    """

    kind: VariantKind = VariantKind.HIGHEST
    bandwidth: int | None = None
    height: int | None = None
    codecs: tuple[str, ...] = ()
    name: str | None = None


def choose_variant(master: MasterPlaylist, policy: VariantPolicy | None = None) -> Variant:
    """Pick one variant; the first listed wins a tie. Raises PlaylistError when the policy leaves none."""
    policy = policy or VariantPolicy()
    candidates = _with_codecs(master.variants, policy.codecs)
    chosen = _PICK[policy.kind](candidates, policy)
    if chosen is None:
        raise PlaylistError(f"no variant matches the policy {policy.kind}")
    return chosen


def audio_rendition(master: MasterPlaylist, variant: Variant) -> Rendition | None:
    """The separate audio playlist that belongs to a variant, or None when its audio is inside the variant."""
    group = [
        rendition
        for rendition in master.renditions
        if rendition.kind == "AUDIO" and rendition.group_id == variant.audio_group
    ]
    if not group:
        return None
    preferred = next((each for each in group if each.default), None) or next(
        (each for each in group if each.autoselect), group[0]
    )
    return preferred if preferred.uri is not None else None


def is_audio_only(variant: Variant) -> bool:
    """Whether a variant names audio codecs only, or says so by its name as Twitch does."""
    if variant.width is not None:
        return False
    if variant.codecs:
        return all(codec.lower().startswith(_AUDIO_CODECS) for codec in variant.codecs)
    return "audio" in (variant.video_group or variant.name).lower()


def is_video_only(variant: Variant) -> bool:
    """Whether a variant names video codecs only and has no audio group."""
    if not variant.codecs or variant.audio_group is not None:
        return False
    return all(codec.lower().startswith(_VIDEO_CODECS) for codec in variant.codecs)


def _with_codecs(variants: Sequence[Variant], wanted: tuple[str, ...]) -> Sequence[Variant]:
    if not wanted:
        return variants
    matching = [each for each in variants if any(codec.startswith(wanted) for codec in each.codecs)]
    return matching or variants


def _quality(variant: Variant) -> tuple[int, int, float]:
    return variant.bandwidth, variant.height or 0, variant.frame_rate or 0.0


def _with_picture(variants: Sequence[Variant]) -> Sequence[Variant]:
    return [each for each in variants if not is_audio_only(each)] or variants


def _highest(variants: Sequence[Variant], _policy: VariantPolicy) -> Variant | None:
    return max(_with_picture(variants), key=_quality, default=None)


def _lowest(variants: Sequence[Variant], _policy: VariantPolicy) -> Variant | None:
    return min(_with_picture(variants), key=_quality, default=None)


def _closest_bandwidth(variants: Sequence[Variant], policy: VariantPolicy) -> Variant | None:
    target = policy.bandwidth
    if target is None:
        raise PlaylistError("the policy closest_bandwidth needs a bandwidth")
    return min(_with_picture(variants), key=lambda each: abs(each.bandwidth - target), default=None)


def _resolution(variants: Sequence[Variant], policy: VariantPolicy) -> Variant | None:
    """The best variant that is not taller than asked, else the least tall one above it."""
    target = policy.height
    if target is None:
        raise PlaylistError("the policy resolution needs a height")
    sized = [each for each in variants if each.height is not None]
    fitting = [each for each in sized if (each.height or 0) <= target]
    if fitting:
        return max(fitting, key=lambda each: (each.height or 0, each.bandwidth))
    return min(sized, key=lambda each: (each.height or 0, -each.bandwidth), default=None)


def _audio_only(variants: Sequence[Variant], _policy: VariantPolicy) -> Variant | None:
    return max(filter(is_audio_only, variants), key=_quality, default=None)


def _video_only(variants: Sequence[Variant], _policy: VariantPolicy) -> Variant | None:
    return max(filter(is_video_only, variants), key=_quality, default=None)


def _by_name(variants: Sequence[Variant], policy: VariantPolicy) -> Variant | None:
    wanted = (policy.name or "").lower()
    if not wanted:
        raise PlaylistError("the policy name needs a name")
    return next((each for each in variants if wanted in (each.name.lower(), (each.video_group or "").lower())), None)


_PICK: dict[VariantKind, Callable[[Sequence[Variant], VariantPolicy], Variant | None]] = {
    VariantKind.HIGHEST: _highest,
    VariantKind.LOWEST: _lowest,
    VariantKind.CLOSEST_BANDWIDTH: _closest_bandwidth,
    VariantKind.RESOLUTION: _resolution,
    VariantKind.AUDIO_ONLY: _audio_only,
    VariantKind.VIDEO_ONLY: _video_only,
    VariantKind.NAME: _by_name,
}

"""Which of several sources is taken: what is excluded, and the order of the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contracts.values import Effective, Selection, Source

from services.downloader.adapters.engine import SourcesUnavailable
from services.downloader.adapters.network import host_of

_SAME_CODEC = {"h264": "avc", "avc1": "avc", "h265": "hevc", "hvc1": "hevc", "hev1": "hevc", "av01": "av1"}


def best(sources: Sequence[Source], effective: Effective, failures: Callable[[Source], float]) -> Source:
    """The healthiest source that is not excluded.

    Then the wanted format, codec, protocol, quality and network, the better priority and the higher bitrate decide, in this order.
    Raises SourcesUnavailable when every source is excluded: what somebody blocked is not taken for lack of another.
    """
    selection = effective.selection
    admitted = [source for source in sources if not is_excluded(source.url, source.bitrate, selection)]
    if not admitted:
        raise SourcesUnavailable("the channel is live, but the selection excludes every source")

    def rank(source: Source) -> tuple[int, int, int, bool, bool, int, int, int]:
        return (
            round(failures(source)),
            place_in(selection.formats, lambda wish: _is_format(source, wish)),
            place_in(selection.codecs, lambda wish: is_codec(source.codec, wish)),
            effective.protocol not in ("any", source.protocol),
            not _has_quality(source, effective.quality),
            cdn_place(source.url, selection),
            source.priority,
            -source.bitrate,
        )

    return min(admitted, key=rank)


def is_excluded(address: str, bitrate: int, selection: Selection) -> bool:
    """Whether a selection keeps away from an address; a bitrate that is not known (0) is inside of any bounds."""
    host = host_of(address)
    if any(blocked.lower() in host for blocked in selection.block_cdns if blocked):
        return True
    if not bitrate:
        return False
    return bitrate < selection.min_bitrate or 0 < selection.max_bitrate < bitrate


def cdn_place(address: str, selection: Selection) -> int:
    """How far down the list of preferred hosts an address is."""
    host = host_of(address)
    return place_in(selection.prefer_cdns, lambda wish: bool(wish) and wish.lower() in host)


def place_in(wishes: Sequence[str], fits: Callable[[str], bool]) -> int:
    """How far down a list of wishes the first one is that fits; its length when none does."""
    return next((place for place, wish in enumerate(wishes) if fits(wish)), len(wishes))


def _is_format(source: Source, wish: str) -> bool:
    return wish.strip().lower() in (source.protocol, source.container)


def is_codec(name: str, wish: str) -> bool:
    """Whether a codec, as a source or a playlist names it (``avc1.64001F``), is the wanted one (``h264``)."""
    return bool(name) and _codec(name) == _codec(wish)


def _codec(name: str) -> str:
    short = name.strip().lower().partition(".")[0]
    return _SAME_CODEC.get(short, short)


def _has_quality(source: Source, wanted: str) -> bool:
    """Whether a source's quality is the wanted one; names are compared both ways, because platforms decorate them."""
    wish, have = wanted.strip().lower(), source.quality.strip().lower()
    if wish in ("", "best", "any") or not have:
        return True
    return wish in have or have in wish

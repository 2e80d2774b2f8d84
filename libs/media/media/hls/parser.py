"""Playlist text to frozen data, in one bounded pass (RFC 8216, rfc8216bis low latency, Twitch prefetch)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from media.hls import attributes as lex
from media.hls.media_playlist import MediaPlaylistBuilder
from media.hls.playlist import (
    ByteRange,
    MasterPlaylist,
    MediaPlaylist,
    PlaylistError,
    PlaylistLimits,
    Rendition,
    Variant,
)

_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
_NO_RANGES: Mapping[int, tuple[str, ByteRange]] = MappingProxyType({})


def decode_playlist(data: bytes, *, limits: PlaylistLimits | None = None) -> str:
    """Decode a response body; RFC 8216 §4 demands UTF-8, a BOM and stray bytes are tolerated. Raises PlaylistError."""
    limits = limits or PlaylistLimits()
    if len(data) > limits.max_chars:
        raise PlaylistError("the playlist is over the size limit")
    return data.decode("utf-8-sig", errors="replace")


def parse_playlist(
    text: str,
    url: str,
    *,
    limits: PlaylistLimits | None = None,
    variables: Mapping[str, str] = _NO_VARIABLES,
    previous_ranges: Mapping[int, tuple[str, ByteRange]] = _NO_RANGES,
) -> MasterPlaylist | MediaPlaylist:
    """Parse a master or a media playlist that was loaded from ``url``.

    ``variables`` are those of the master playlist, for EXT-X-DEFINE:IMPORT. ``previous_ranges`` maps a media sequence
    number to the URL and byte range that an earlier load showed, so that a range without an offset can be continued
    after its predecessor left the window. Raises PlaylistError, and nothing else, for any text.
    """
    limits = limits or PlaylistLimits()
    if len(text) > limits.max_chars:
        raise PlaylistError("the playlist is over the size limit")
    lines = _lines(text, url, limits, variables)
    if next(lines, None) != "#EXTM3U":
        raise PlaylistError("the text does not begin with #EXTM3U")
    remaining = list(lines)
    if any(line.startswith("#EXT-X-STREAM-INF:") for line in remaining):
        return _master(remaining, url, limits)
    builder = MediaPlaylistBuilder(url, limits, previous_ranges)
    for line in remaining:
        builder.feed(line)
    return builder.build()


def _lines(text: str, url: str, limits: PlaylistLimits, imported: Mapping[str, str]) -> Iterator[str]:
    """Tag and URI lines, stripped, with variables replaced; comments and blank lines are left out."""
    variables: dict[str, str] = {}
    for raw in text.removeprefix("\ufeff").split("\n"):
        line = raw.strip()
        if not line or (line[0] == "#" and not line.startswith("#EXT")):
            continue
        if len(line) > limits.max_line_chars:
            raise PlaylistError("a line is over the length limit")
        line = lex.substitute(line, variables, limits.max_line_chars)
        if line.startswith("#EXT-X-DEFINE:") and len(variables) < lex.MAX_VARIABLES:
            variables.update([defined] if (defined := _define(line, url, imported)) else [])
        yield line


def _define(line: str, url: str, imported: Mapping[str, str]) -> tuple[str, str] | None:
    try:
        return lex.define(lex.attribute_list(line.partition(":")[2]), url, imported)
    except ValueError as error:
        raise PlaylistError("the playlist URL has a query that cannot be read") from error


def _master(lines: list[str], url: str, limits: PlaylistLimits) -> MasterPlaylist:
    variants: list[Variant] = []
    renditions: list[Rendition] = []
    pending: dict[str, str] | None = None
    for line in lines:
        tag, _, value = line.partition(":")
        if tag == "#EXT-X-STREAM-INF":
            pending = lex.attribute_list(value)
        elif tag == "#EXT-X-MEDIA":
            renditions.extend(_rendition(lex.attribute_list(value), url))
        elif line[0] != "#" and pending is not None:
            variants.append(_variant(pending, lex.absolute_url(url, line)))
            pending = None
        if len(variants) > limits.max_variants or len(renditions) > limits.max_variants:
            raise PlaylistError("the master playlist has too many variants or renditions")
    if not variants:
        raise PlaylistError("the master playlist has no variant with a URI")
    return MasterPlaylist(url, tuple(variants), tuple(renditions))


def _variant(attributes: Mapping[str, str], uri: str) -> Variant:
    width, height = lex.resolution(attributes.get("RESOLUTION")) or (None, None)
    codecs = tuple(codec.strip() for codec in attributes.get("CODECS", "").split(",") if codec.strip())
    return Variant(
        uri=uri,
        bandwidth=lex.integer(attributes.get("BANDWIDTH")) or 0,
        average_bandwidth=lex.integer(attributes.get("AVERAGE-BANDWIDTH")),
        width=width,
        height=height,
        frame_rate=lex.seconds(attributes.get("FRAME-RATE")),
        codecs=codecs,
        audio_group=attributes.get("AUDIO"),
        video_group=attributes.get("VIDEO"),
        name=attributes.get("NAME", ""),
    )


def _rendition(attributes: Mapping[str, str], url: str) -> Iterator[Rendition]:
    if "GROUP-ID" not in attributes or "TYPE" not in attributes:
        return
    uri = attributes.get("URI")
    yield Rendition(
        kind=attributes["TYPE"],
        group_id=attributes["GROUP-ID"],
        name=attributes.get("NAME", ""),
        uri=lex.absolute_url(url, uri) if uri else None,
        language=attributes.get("LANGUAGE", ""),
        default=lex.yes(attributes.get("DEFAULT")),
        autoselect=lex.yes(attributes.get("AUTOSELECT")),
    )

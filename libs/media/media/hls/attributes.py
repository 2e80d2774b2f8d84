"""The lexical layer of a playlist: attribute lists, numbers, dates and URLs, each bounded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import parse_qsl, urljoin, urlsplit

from media.hls.playlist import ByteRange, PlaylistError

MAX_ATTRIBUTES = 64
MAX_VARIABLES = 256
MAX_SUBSTITUTIONS = 32
"""Variables in one line."""
MAX_DURATION = 86_400.0
"""Seconds. No segment, part or target duration is longer than a day; a larger number is damage."""

# Possessive quantifiers: a hostile line must not make the search go back over it again and again.
_ATTRIBUTE = re.compile(r'\s*+([A-Za-z0-9_-]{1,128}+)=("[^"]*+"|[^",]*+)\s*+(?:,|$)')
_INTEGER = re.compile(r"[0-9]{1,20}")
_DECIMAL = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,32})?|\.[0-9]{1,32}")
# The shapes that nearly all references have: resolving them by hand takes a tenth of the time of urljoin.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.-]++(?::[0-9]{1,5})?/[^\s#\\\[\]]*+\Z")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~%-]*+(?:/[A-Za-z0-9_][A-Za-z0-9_.~%-]*+)*+(?:\?[^\s#]++)?")
_BYTE_RANGE = re.compile(r"([0-9]{1,20})(?:@([0-9]{1,20}))?")
_VARIABLE = re.compile(r"\{\$([A-Za-z0-9_-]{1,128})\}")
_RESOLUTION = re.compile(r"([0-9]{1,6})[xX]([0-9]{1,6})")
_MAX_INTEGER = 2**64 - 1


def attribute_list(text: str) -> dict[str, str]:
    """Parse ``A=1,B="x, y"`` (RFC 8216 §4.2); stops quietly at the first thing that is no attribute."""
    found: dict[str, str] = {}
    position = 0
    while len(found) < MAX_ATTRIBUTES and (match := _ATTRIBUTE.match(text, position)):
        found[match[1]] = match[2].strip().strip('"')
        position = match.end()
    return found


def integer(text: str | None) -> int | None:
    """A decimal-integer of at most 64 bits, or None."""
    if text is None or (match := _INTEGER.match(text.strip())) is None:
        return None
    value = int(match[0])
    return value if value <= _MAX_INTEGER else None


def seconds(text: str | None) -> float | None:
    """A duration between 0 and MAX_DURATION seconds, or None; text after the number is ignored."""
    if text is None or (match := _DECIMAL.match(text.strip())) is None:
        return None
    return min(float(match[0]), MAX_DURATION)


def yes(text: str | None) -> bool:
    """Whether an enumerated-string is YES."""
    return text == "YES"


def initialisation_vector(text: str | None) -> bytes | None:
    """A 128-bit hexadecimal-sequence such as ``0x9c7db8778570d05c3177c349fd9236aa``, or None."""
    if not text or text[:2].lower() != "0x" or len(text) > 34:
        return None
    try:
        return int(text[2:], 16).to_bytes(16, "big")
    except ValueError:
        return None


def resolution(text: str | None) -> tuple[int, int] | None:
    """Width and height of ``1280x720``, or None."""
    match = _RESOLUTION.fullmatch(text.strip()) if text else None
    return (int(match[1]), int(match[2])) if match else None


def byte_range(text: str, default_offset: int | None) -> ByteRange | None:
    """Parse ``length[@offset]``.

    ``default_offset`` stands in for a missing offset; None when there is nothing to infer it from, which makes the
    playlist unusable (RFC 8216 §4.3.2.2). Raises PlaylistError in that case.
    """
    match = _BYTE_RANGE.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        return None
    offset = int(match[2]) if match[2] is not None else default_offset
    if offset is None:
        raise PlaylistError("a byte range without an offset has no predecessor")
    return ByteRange(offset, int(match[1]))


def moment(text: str | None) -> datetime | None:
    """An ISO 8601 date with time, in UTC when it names no zone, or None."""
    if not text or len(text) > 64:
        return None
    try:
        parsed = datetime.fromisoformat(text.strip())
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def absolute_url(base: str, reference: str) -> str:
    """Resolve a reference against the playlist's URL.

    Only http and https, and the playlist's own scheme, are followed: a playlist from the network must not name local
    files. Raises PlaylistError otherwise.
    """
    reference = reference.strip()
    if _PLAIN_URL.match(reference):
        return reference
    if _PLAIN_PATH.fullmatch(reference) and (directory := _directory(base)):
        return directory + reference
    try:
        resolved = urljoin(base, reference)
        scheme = urlsplit(resolved).scheme
        allowed = {"http", "https", urlsplit(base).scheme}
    except ValueError as error:
        raise PlaylistError("a URL in the playlist is malformed") from error
    if scheme not in allowed:
        raise PlaylistError(f"a URL in the playlist has the scheme {scheme[:16]!r}")
    return resolved


@lru_cache(maxsize=16)
def _directory(base: str) -> str:
    """What a plain relative path is appended to; empty when the base is not a plain http URL itself."""
    return base.partition("?")[0].rpartition("/")[0] + "/" if _PLAIN_URL.match(base) and "#" not in base else ""


def substitute(line: str, variables: Mapping[str, str], max_chars: int) -> str:
    """Replace ``{$name}`` (EXT-X-DEFINE); raises PlaylistError when the result is over ``max_chars``."""
    if "{$" not in line or not variables:
        return line
    if line.count("{$") > MAX_SUBSTITUTIONS:
        raise PlaylistError("a line has too many variables")
    replaced = _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), line)
    if len(replaced) > max_chars:
        raise PlaylistError("a line grew over the limit by variable substitution")
    return replaced


def define(attributes: Mapping[str, str], playlist_url: str, imported: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable that one EXT-X-DEFINE tag sets, or None when it sets none."""
    if "NAME" in attributes:
        return attributes["NAME"], attributes.get("VALUE", "")
    if "IMPORT" in attributes:
        name = attributes["IMPORT"]
        return (name, imported[name]) if name in imported else None
    name = attributes.get("QUERYPARAM", "")
    query = dict(parse_qsl(_query(playlist_url), keep_blank_values=True, max_num_fields=MAX_VARIABLES))
    return (name, query[name]) if name in query else None


def _query(url: str) -> str:
    query = urlsplit(url).query
    return query if query.count("&") < MAX_VARIABLES else ""

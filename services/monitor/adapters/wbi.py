"""Bilibili's WBI request signature, as pure functions.

Source of the algorithm: the public web client, documented in the bilibili-API-collect project (docs/misc/sign/wbi).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import quote

# The order in which the web client picks 64 characters out of the two key halves.
_PERMUTATION = (
    *(46, 47, 18, 2, 53, 8, 23, 32, 15, 50, 10, 31, 58, 3, 45, 35),
    *(27, 43, 5, 49, 33, 9, 42, 19, 29, 28, 14, 39, 12, 38, 41, 13),
    *(37, 48, 7, 16, 24, 55, 40, 61, 26, 17, 0, 1, 60, 51, 30, 4),
    *(22, 25, 54, 21, 56, 59, 6, 63, 57, 62, 11, 36, 20, 34, 44, 52),
)
_DROPPED = str.maketrans("", "", "!'()*")


def signing_key(img_url: str, sub_url: str) -> str:
    """The 32-character key from the two image addresses of `nav`; ValueError when their file stems are not 32 long."""
    halves = [url.rpartition("/")[2].partition(".")[0] for url in (img_url, sub_url)]
    if any(len(half) != 32 for half in halves):
        raise ValueError("the WBI key halves are not 32 characters long")
    both = "".join(halves)
    return "".join(both[index] for index in _PERMUTATION)[:32]


def signed_query(params: Mapping[str, str], key: str, now: int) -> str:
    """The encoded query with `wts` (seconds since 1970) and `w_rid`; send it exactly as returned."""
    complete = {**params, "wts": str(now)}
    query = "&".join(
        f"{quote(name, safe='')}={quote(value.translate(_DROPPED), safe='')}"
        for name, value in sorted(complete.items())
    )
    digest = hashlib.md5((query + key).encode(), usedforsecurity=False).hexdigest()
    return f"{query}&w_rid={digest}"

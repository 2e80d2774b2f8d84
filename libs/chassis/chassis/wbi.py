"""The signature ("WBI") that Bilibili's web API asks for: pure, and here because two services ask that API and may not import each other.

Source: bilibili-API-collect, page "misc/sign/wbi": the stems of two picture addresses are joined, 32 of the 64
characters picked by a fixed permutation are the key; the query, sorted by name, with ``wts`` (unix seconds) and without
the characters ``!'()*`` in values, is followed by the key, and the MD5 of both is ``w_rid``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

# fmt: off
_PERMUTATION: Final = (
    46, 47, 18, 2, 53, 8, 23, 32, 15, 50, 10, 31, 58, 3, 45, 35,
    27, 43, 5, 49, 33, 9, 42, 19, 29, 28, 14, 39, 12, 38, 41, 13,
    37, 48, 7, 16, 24, 55, 40, 61, 26, 17, 0, 1, 60, 51, 30, 4,
    22, 25, 54, 21, 56, 59, 6, 63, 57, 62, 11, 36, 20, 34, 44, 52,
)
# fmt: on
HALF: Final = 32
_DROPPED: Final = str.maketrans("", "", "!'()*")

KEY_TTL_S: Final = 7200.0
"""The pictures change about once a day; the web page asks again more often."""


class InvalidKey(ValueError):
    """Picture addresses that give no key."""


def mixin_key(image_url: str, sub_url: str) -> str:
    """The key from the two addresses in ``data.wbi_img`` of ``/x/web-interface/nav``. Raises InvalidKey."""
    halves = (_stem(image_url), _stem(sub_url))
    if any(len(half) != HALF for half in halves):
        raise InvalidKey(f"the halves of the key are not {HALF} characters long")
    raw = "".join(halves)
    return "".join(raw[index] for index in _PERMUTATION)[:32]


def sign(params: Mapping[str, str | int], key: str, unix_s: int) -> dict[str, str]:
    """`params` with ``wts`` and ``w_rid``, sorted, ready to be sent in this order."""
    signed = {name: str(value).translate(_DROPPED) for name, value in sorted({**params, "wts": unix_s}.items())}
    digest = hashlib.md5((_encoded(signed) + key).encode(), usedforsecurity=False).hexdigest()
    return {**signed, "w_rid": digest}


def signed_query(params: Mapping[str, str | int], key: str, unix_s: int) -> str:
    """What `sign` gives as an encoded query, to be sent exactly as it is."""
    return _encoded(sign(params, key, unix_s))


def _encoded(params: Mapping[str, str]) -> str:
    return urlencode(params, quote_via=quote, safe="")


def _stem(url: str) -> str:
    return url.rpartition("/")[2].partition(".")[0]

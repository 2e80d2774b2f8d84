"""The two signatures a client meets: WBI on the API, and the expiring signature on a media URL."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable
from urllib.parse import quote

# Source: the community's documentation of WBI signing; pinned by its published example in the tests.
_MIXIN_ORDER = (
    46, 47, 18, 2, 53, 8, 23, 32, 15, 50, 10, 31, 58, 3, 45, 35,
    27, 43, 5, 49, 33, 9, 42, 19, 29, 28, 14, 39, 12, 38, 41, 13,
)  # fmt: skip
_WBI_MAX_AGE_S = 3600


def mixin_key(img_key: str, sub_key: str) -> str:
    """The 32 characters that a WBI signature appends: both keys joined, permuted, cut."""
    raw = img_key + sub_key
    return "".join(raw[index] for index in _MIXIN_ORDER)


def wbi_signature(parameters: Iterable[tuple[str, str]], key: str) -> str:
    """`w_rid` of these query parameters (which include wts, not w_rid)."""
    kept = sorted((name, "".join(c for c in value if c not in "!'()*")) for name, value in parameters)
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in kept)
    return hashlib.md5((query + key).encode()).hexdigest()


class WbiKeys:
    """The keys that nav hands out; the real ones change daily, these on `rotate`."""

    def __init__(self) -> None:
        self.img_key = self.sub_key = ""
        self.rotate()

    def rotate(self) -> None:
        """New keys: signatures made with the old ones are refused from now on."""
        self.img_key, self.sub_key = secrets.token_hex(16), secrets.token_hex(16)

    def accepts(self, query: Iterable[tuple[str, str]]) -> bool:
        """True when the query carries a fresh wts and the w_rid that belongs to all its other parameters."""
        parameters = list(query)
        by_name = dict(parameters)
        wts, w_rid = by_name.get("wts", ""), by_name.get("w_rid", "")
        if not wts.isdecimal() or abs(time.time() - int(wts)) > _WBI_MAX_AGE_S:
            return False
        signed = [(name, value) for name, value in parameters if name != "w_rid"]
        expected = wbi_signature(signed, mixin_key(self.img_key, self.sub_key))
        return hmac.compare_digest(expected.encode(), w_rid.encode())


class UrlSigner:
    """Signs a room's media URLs until a time; `expire` voids everything signed so far."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(16)

    def sign(self, path: str, expires: int) -> str:
        """The `sign` parameter for this path."""
        return hmac.new(self._secret, f"{path}?{expires}".encode(), hashlib.sha256).hexdigest()[:32]

    def accepts(self, path: str, expires: str, sign: str) -> bool:
        """True while the URL is not expired and its signature is one of ours."""
        if not expires.isdecimal() or int(expires) < time.time():
            return False
        return hmac.compare_digest(self.sign(path, int(expires)).encode(), sign.encode())

    def expire(self) -> None:
        """Void all signatures."""
        self._secret = secrets.token_bytes(16)

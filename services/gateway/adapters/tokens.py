"""Access tokens (JWT, HS256, RFC 7519), refresh tokens and API keys (opaque, stored as SHA-256: they are random, so a slow hash adds nothing)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass

import jwt

ISSUER, AUDIENCE = "aircheck", "aircheck-api"
_KEY = re.compile(r"ack_(?P<id>[0-9a-f]{32})_(?P<secret>[A-Za-z0-9_-]{43})")


class InvalidToken(ValueError):
    """Not a token of ours, changed, or expired."""


@dataclass(frozen=True, slots=True)
class Access:
    """What an access token says: whose it is, from which login, until when (Unix time). The role is looked up, never believed."""

    user_id: str
    family: str
    expires_at: float


class Tokens:
    """Issues and reads tokens. Every replica derives the same signing key from the system key."""

    def __init__(self, system_key: str, *, lifetime_s: int) -> None:
        self._key = hmac.digest(system_key.encode(), b"aircheck gateway access token v1", "sha256")
        self.lifetime_s = lifetime_s

    def issue(self, user_id: str, family: str) -> str:
        """A signed access token."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "fam": family,
            "iat": now,
            "exp": now + self.lifetime_s,
            "jti": secrets.token_hex(8),
        }
        return jwt.encode(claims, self._key, algorithm="HS256")

    def read(self, token: str) -> Access:
        """Verify an access token; raises :class:`InvalidToken`."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": ["exp", "sub", "fam"]},
            )
        except jwt.PyJWTError as error:
            raise InvalidToken(str(error)) from None
        return Access(str(claims["sub"]), str(claims["fam"]), float(claims["exp"]))


def new_refresh_token() -> tuple[str, bytes]:
    """A refresh token and the hash that is stored."""
    token = secrets.token_urlsafe(32)
    return token, digest(token)


def new_api_key(key_id: str) -> tuple[str, bytes]:
    """The text of an API key, shown once, and the hash of its secret."""
    secret = secrets.token_urlsafe(32)
    return f"ack_{key_id}_{secret}", digest(secret)


def split_api_key(text: str) -> tuple[str, bytes] | None:
    """The id of a key and the hash of its secret, or ``None`` when the text is not a key."""
    match = _KEY.fullmatch(text)
    return (match["id"], digest(match["secret"])) if match else None


def digest(secret: str) -> bytes:
    """What is stored of a random secret."""
    return hashlib.sha256(secret.encode()).digest()

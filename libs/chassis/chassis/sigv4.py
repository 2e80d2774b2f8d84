"""AWS Signature Version 4 for S3 requests whose payload hash is known, as pure functions.

Source: "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)", Amazon S3 API reference.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_UNRESERVED = "-_.~"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; `session_token` where it is a temporary one."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def encoded_path(path: str) -> str:
    """A path as S3 wants it signed and sent: each character outside the unreserved ones percent-encoded, once."""
    return quote(path, safe="/" + _UNRESERVED)


def encoded_query(query: Mapping[str, str]) -> str:
    """A query as it is signed and sent: encoded, then sorted."""
    pairs = sorted((quote(name, safe=_UNRESERVED), quote(value, safe=_UNRESERVED)) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


@dataclass(frozen=True, slots=True)
class Request:
    """What is signed. `path` and `query` are not encoded yet; `payload_sha256` is hex."""

    method: str
    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    payload_sha256: str = EMPTY_SHA256


def signed_headers(request: Request, credentials: Credentials, region: str, now: datetime) -> dict[str, str]:
    """The request's headers and those that authenticate it; `now` is aware."""
    moment = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    complete = {
        **request.headers,
        "host": request.host,
        "x-amz-content-sha256": request.payload_sha256,
        "x-amz-date": moment,
        **({"x-amz-security-token": credentials.session_token} if credentials.session_token else {}),
    }
    canonical_headers = sorted((name.lower(), " ".join(value.split())) for name, value in complete.items())
    names = ";".join(name for name, _ in canonical_headers)
    canonical = "\n".join(
        [
            request.method,
            encoded_path(request.path),
            encoded_query(request.query),
            *(f"{name}:{value}" for name, value in canonical_headers),
            "",
            names,
            request.payload_sha256,
        ]
    )
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signature = hmac.new(_key(credentials, moment[:8], region), to_sign.encode(), hashlib.sha256).hexdigest()
    complete["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key_id}/{scope},SignedHeaders={names},Signature={signature}"
    )
    return complete


def _key(credentials: Credentials, day: str, region: str) -> bytes:
    key = f"AWS4{credentials.secret_access_key}".encode()
    for step in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    return key

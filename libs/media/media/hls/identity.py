"""What stays the same about a segment's URL while tokens, hosts and paths of a CDN rotate."""

from __future__ import annotations

import re
from urllib.parse import urlencode, urlsplit, urlunsplit

from media.hls.playlist import ByteRange

DEFAULT_VOLATILE_QUERY = frozenset(
    {
        # generic
        "token", "tk", "t", "ts", "sig", "sign", "signature", "hash", "hmac", "auth", "auth_key", "authkey", "key",
        "expires", "expire", "expiry", "exp", "e", "st", "et", "nonce", "session", "sessionid", "sid", "uuid", "trid",
        "requestid", "_", "time", "timestamp",
        # Akamai, CloudFront, Google, AWS
        "hdnts", "hdntl", "hdnea", "policy", "key-pair-id", "x-amz-algorithm", "x-amz-credential", "x-amz-date",
        "x-amz-expires", "x-amz-security-token", "x-amz-signature", "x-amz-signedheaders",
        # Tencent, Alibaba, Wangsu, Huawei
        "txsecret", "txtime", "wssecret", "wstime", "hwsecret", "hwtime", "upsig", "deadline",
    }
)  # fmt: skip
"""Query names (lower case) that carry a signature, its age or a session, and never say which segment it is."""

_PATH_TOKEN = re.compile(r"^(?:hdnts|hdntl|hdnea|exp|token)=|~(?:hmac|acl|exp)=")
_DIRECTIVES = ("_HLS_msn", "_HLS_part", "_HLS_skip")


def segment_identity(uri: str, byte_range: ByteRange | None, volatile: frozenset[str]) -> str:
    """Path, stable query and byte range of a URL, without scheme, host and the ``volatile`` query names."""
    parts = urlsplit(uri)
    path = "/".join(step for step in parts.path.split("/") if not _PATH_TOKEN.search(step))
    stable = [pair for pair in parts.query.split("&") if pair and pair.partition("=")[0].lower() not in volatile]
    query = "?" + "&".join(sorted(stable)) if stable else ""
    chosen = f"#{byte_range.offset}+{byte_range.length}" if byte_range else ""
    return f"{path}{query}{chosen}"


def base_name(identity: str) -> str:
    """The last step of the path in an identity, with its byte range: it outlives a rotation of everything else."""
    path, _, chosen = identity.partition("#")
    return path.partition("?")[0].rpartition("/")[2] + "#" + chosen


def without_directives(url: str) -> str:
    """The playlist URL without the delivery directives of a blocking reload (rfc8216bis §6.2.5)."""
    parts = urlsplit(url)
    if "_HLS_" not in parts.query:
        return url
    kept = "&".join(pair for pair in parts.query.split("&") if pair.partition("=")[0] not in _DIRECTIVES)
    return urlunsplit(parts._replace(query=kept))


def with_directives(url: str, sequence: int, part: int | None) -> str:
    """The URL of a blocking reload that returns once this segment, or this part of it, exists."""
    parts = urlsplit(url)
    directives = {"_HLS_msn": str(sequence)} | ({} if part is None else {"_HLS_part": str(part)})
    query = "&".join(filter(None, [parts.query, urlencode(directives)]))
    return urlunsplit(parts._replace(query=query))

"""``ETag`` is the aggregate version; ``If-Match`` is the version the caller believes in (RFC 9110)."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header

from services.gateway.api.problems import Refusal

_TAG = re.compile(r'"(?P<version>0|[1-9][0-9]{0,8})"')


def etag(version: int) -> str:
    """The entity tag of a version."""
    return f'"{version}"'


def _expected(
    if_match: Annotated[str | None, Header(description="The ETag of the version to change; `*` for any.")] = None,
) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    match = _TAG.fullmatch(if_match.strip())
    if match is None:
        raise Refusal(400, 'If-Match is one strong entity tag such as "7", or *', title="Malformed If-Match")
    return int(match["version"])


Expected = Annotated[int | None, Depends(_expected)]


def require(expected: int | None, version: int) -> None:
    """Refuse when the version in hand is not the expected one, for commands that carry none themselves."""
    if expected is not None and expected != version:
        raise Refusal(412, f"it is at version {version} now", title="Precondition Failed")

"""What may be shown of a text that somebody else wrote: its addresses without what opens them."""

from __future__ import annotations

import re
from typing import Any

_CREDENTIALS = re.compile(r"://[^/\s@,]+@")
_QUERY = re.compile(r"(://[^\s?'\"<>]*)\?[^\s'\"<>]+")
_STREAM_KEY = re.compile(r"(\brtmp[a-z]{0,2}://[^\s/?'\"<>]+/)[^\s'\"<>]+", re.IGNORECASE)


def without_credentials(value: Any) -> Any:
    """A text with every ``scheme://user:password@`` shortened; any other value as it is."""
    return _CREDENTIALS.sub("://***@", value) if isinstance(value, str) else value


def without_secrets(text: str) -> str:
    """A text whose addresses show neither a login, nor a query (signatures, tokens, passphrases), nor the path of an RTMP stream (its key)."""
    if "://" not in text:
        return text
    shown: str = without_credentials(text)
    return _STREAM_KEY.sub(r"\1***", _QUERY.sub(r"\1?***", shown))

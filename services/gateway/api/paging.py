"""Pages by key: a cursor names the last item of the page before, so that nothing is skipped or repeated while lists grow."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel

from services.gateway.api.problems import Refusal

MAX_LIMIT, DEFAULT_LIMIT = 200, 50
T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """Some items and the cursor of the next page, ``null`` on the last one."""

    items: list[T]
    next: str | None = None


@dataclass(frozen=True)
class Paging:
    """What the caller asked for. One item more than ``limit`` is fetched, to know whether there is a next page."""

    limit: int
    cursor: list[Any] | None
    request: Request
    response: Response

    @property
    def fetch(self) -> int:
        """How many items to ask for."""
        return self.limit + 1

    def by_name(self) -> tuple[str, str] | None:
        """The cursor of a list ordered by name."""
        found: tuple[str, str] | None = self._decode(_text, _text)
        return found

    def by_time(self) -> tuple[datetime, str] | None:
        """The cursor of a list ordered by time."""
        found: tuple[datetime, str] | None = self._decode(_time, _text)
        return found

    def by_time_and_index(self) -> tuple[datetime, str, int] | None:
        """The cursor of a list of segments."""
        found: tuple[datetime, str, int] | None = self._decode(_time, _text, _index)
        return found

    def by_position(self) -> int | None:
        """The cursor of a list of events."""
        found = self._decode(_integer)
        return found[0] if found else None

    def by_file_and_line(self) -> tuple[int, int] | None:
        """The cursor of the messages of a chat."""
        found: tuple[int, int] | None = self._decode(_natural, _natural)
        return found

    def page(self, items: Sequence[Any], *key: str) -> dict[str, Any]:
        """The page and its ``Link`` header; ``key`` names the fields a cursor is made of."""
        shown, more = items[: self.limit], len(items) > self.limit
        cursor = _encode([shown[-1][name] for name in key]) if more else None
        if cursor:
            query = [(name, value) for name, value in self.request.query_params.multi_items() if name != "cursor"]
            address = f"{self.request.url.path}?{urlencode([*query, ('cursor', cursor)])}"
            self.response.headers["Link"] = f'<{address}>; rel="next"'
        return {"items": list(shown), "next": cursor}

    def _decode(self, *readers: Callable[[Any], Any]) -> Any:
        if self.cursor is None:
            return None
        try:
            return tuple(read(value) for read, value in zip(readers, self.cursor, strict=True))
        except (ValueError, TypeError):
            raise _bad_cursor() from None


def _paging(
    request: Request,
    response: Response,
    limit: Annotated[int, Query(ge=1, description=f"Larger values are cut to {MAX_LIMIT}.")] = DEFAULT_LIMIT,
    cursor: Annotated[str | None, Query(max_length=1000, description="`next` of the page before.")] = None,
) -> Paging:
    return Paging(min(limit, MAX_LIMIT), _read(cursor) if cursor else None, request, response)


Paged = Annotated[Paging, Depends(_paging)]


def _read(cursor: str) -> list[Any]:
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        raise _bad_cursor() from None
    if not isinstance(found, list):
        raise _bad_cursor()
    return found


def _encode(values: list[Any]) -> str:
    text = json.dumps(values, separators=(",", ":"), default=str)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise ValueError(value)
    value.encode()  # a lone surrogate cannot be asked for either
    return value


def _time(value: Any) -> datetime:
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError(value)
    return time


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 2**53:
        raise ValueError(value)
    return value


def _index(value: Any) -> int:
    if _integer(value) >= 2**31 or value < -(2**31):
        raise ValueError(value)
    return int(value)


def _natural(value: Any) -> int:
    if _index(value) < 0:
        raise ValueError(value)
    return int(value)


def _bad_cursor() -> Refusal:
    return Refusal(400, "this is not a cursor of this list: begin again without one", title="Bad cursor")

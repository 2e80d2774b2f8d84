"""File names from templates: known fields only, every value sanitised, every part limited in bytes, never outside the root.

A template is a relative path with fields in braces: ``{streamer}/{date}/{time} {title} {index:03}``. Fields: streamer, title, platform,
category, session, date (YYYY-MM-DD), time (HH-MM-SS), year, month, day, hour, minute, second, unix, index (with an optional width as in
``{index:03}``). The numeric tokens of strftime are filled too: ``%Y %y %m %d %H %I %M %S %j %G %V %u %f %z``, also ``%t`` (Unix seconds),
``%i`` (the index with three digits) and ``%%``; any other ``%`` stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import PurePosixPath

FIELDS = frozenset(
    [
        "streamer",
        "title",
        "platform",
        "category",
        "session",
        "date",
        "time",
        "year",
        "month",
        "day",
        "hour",
        "minute",
        "second",
        "unix",
        "index",
    ]
)
MAX_PART_BYTES = 200
"""Below the 255 bytes of common file systems, with room for suffixes such as ``.part`` and extensions."""
MAX_PARTS = 16
MAX_TAIL_BYTES = 20

_FIELD = re.compile(r"\{(?P<name>[a-z]+)(?::(?P<width>0?[1-9]))?\}")
_TOKEN = re.compile(r"%(?P<letter>[YymdHIMSjGVufzti%])")
_FILL = re.compile(f"{_FIELD.pattern}|{_TOKEN.pattern}")
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]+')
_RESERVED = frozenset(["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))])


class BadTemplate(ValueError):
    """A template that names unknown fields or leads outside the root; the message says which part."""


def check_template(template: str) -> None:
    """Raise :class:`BadTemplate` unless every name made from ``template`` stays below its root and differs from segment to segment."""
    names = {match["name"] for match in _FIELD.finditer(template)}
    unknown = names - FIELDS
    if unknown:
        raise BadTemplate(f"unknown field {{{sorted(unknown)[0]}}}: known are {', '.join(sorted(FIELDS))}")
    rest = _FIELD.sub("", template)
    if "{" in rest or "}" in rest:
        raise BadTemplate("a brace that belongs to no field: fields look like {title} or {index:03}")
    if template.startswith(("/", "\\", "~")) or "\x00" in template:
        raise BadTemplate("the template must be a relative path")
    parts = template.split("/")
    if any(part.strip() in ("", ".", "..") for part in parts) or "\\" in template:
        raise BadTemplate("every part of the path needs a name; '.', '..' and backslashes are refused")
    if len(parts) > MAX_PARTS:
        raise BadTemplate(f"at most {MAX_PARTS} folders deep")
    if "index" not in names and "i" not in {match["letter"] for match in _TOKEN.finditer(rest)}:
        raise BadTemplate("the template needs {index} or %i, so that the segments of a session get different names")


def sanitise(text: str, *, limit: int = MAX_PART_BYTES) -> str:
    """One path part that every common file system takes: ``unnamed`` when nothing is left. ``limit`` in UTF-8 bytes."""
    clean = _UNSAFE.sub("_", text).strip(" .")
    clean = clean.encode("utf-8", "ignore")[:limit].decode("utf-8", "ignore").strip(" .")
    if clean.split(".")[0].lower() in _RESERVED:
        clean = f"_{clean}"
    return clean or "unnamed"


def render(template: str, values: Mapping[str, str], *, at: datetime, index: int) -> PurePosixPath:
    """The relative path (without extension) of one segment. ``values`` gives streamer, title,
    platform, category and session. Raises BadTemplate."""
    check_template(template)
    fields = {
        **{name: sanitise(values.get(name, "")) for name in ("streamer", "title", "platform", "category", "session")},
        **_times(at),
    }

    def fill(match: re.Match[str]) -> str:
        if match["letter"]:
            return _token(match["letter"], at, index)
        if match["name"] == "index":
            return f"{index:0{int(match['width'] or 1)}d}"
        return fields[match["name"]]

    return PurePosixPath(*(_part(part, fill) for part in template.split("/")))


def _part(template: str, fill: Callable[[re.Match[str]], str]) -> str:
    text = _FILL.sub(fill, template)
    numbers = [match for match in _FILL.finditer(template) if match["name"] == "index" or match["letter"] == "i"]
    if len(text.encode()) <= MAX_PART_BYTES or not numbers:
        return sanitise(text)
    # The number tells segments apart, so it is what must survive the cut.
    tail = "".join(fill(match) for match in numbers)[-MAX_TAIL_BYTES:]
    return f"{sanitise(text, limit=MAX_PART_BYTES - len(tail) - 1)} {tail}"


def _token(letter: str, at: datetime, index: int) -> str:
    match letter:
        case "%":
            return "%"
        case "i":
            return f"{index:03d}"
        case "t":
            return str(int(at.timestamp()))
    return at.strftime(f"%{letter}")


def _times(at: datetime) -> dict[str, str]:
    return {
        "date": at.strftime("%Y-%m-%d"),
        "time": at.strftime("%H-%M-%S"),
        "year": at.strftime("%Y"),
        "month": at.strftime("%m"),
        "day": at.strftime("%d"),
        "hour": at.strftime("%H"),
        "minute": at.strftime("%M"),
        "second": at.strftime("%S"),
        "unix": str(int(at.timestamp())),
    }

"""Statistics of a chat as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from media.chat.captions import decimal
from rich.table import Table
from rich.text import Text

from aircheck.output import table

_BARS = " ▁▂▃▄▅▆▇█"
_COLUMNS = 72


def chat_tables(report: dict[str, Any], top: int) -> Iterator[Table | Text]:
    """What was said, then the rate, then who, what and when; of each at most ``top``."""
    yield _summary(report)
    if report["rate"]:
        yield Text(f"rate  {sparkline(report['rate'])}  at most {max(report['rate'])} in {report['bucket_s']} s")
    for title, rows, name, count in (
        ("talkers", report["talkers"], "user", "messages"),
        ("words", report["words"], "word", "messages"),
        ("gifts", report["gifts"], "gift", "count"),
    ):
        if rows:
            yield _ranking(title, rows[:top], name, count)
    if report["highlights"]:
        shown = table("highlight (UTC)", "messages", "× usual")
        for one in report["highlights"]:
            shown.add_row(_time(one["at_ms"]), str(one["messages"]), str(one["times_usual"]))
        yield shown


def sparkline(counts: list[int]) -> str:
    """A row of bars, at most 72 of them, each the largest of what it stands for."""
    step = -(-len(counts) // _COLUMNS)
    tops = [max(counts[at : at + step]) for at in range(0, len(counts), step)]
    highest = max(tops) or 1
    return "".join(_BARS[-(-one * (len(_BARS) - 1) // highest)] for one in tops)


def _summary(report: dict[str, Any]) -> Table:
    shown = table("", "")
    kinds = ", ".join(f"{count} {kind}" for kind, count in report["kinds"].items())
    shown.add_row("messages", f"{report['messages']} ({kinds})" if kinds else "0")
    if report["messages"]:
        shown.add_row("from, to (UTC)", f"{_time(report['first_ms'])} – {_time(report['last_ms'])}")
        shown.add_row("people who spoke", f"about {report['chatters']}")
    for one in report["paid"]:
        shown.add_row("paid", f"{one['currency']} {decimal(one['amount'])} in {one['payments']} payments".strip())
    return shown


def _ranking(title: str, rows: list[dict[str, Any]], name: str, count: str) -> Table:
    shown = table(title, count)
    for row in rows:
        error = f" ± {row['error']}" if row["error"] else ""
        # Names are what strangers wrote: no markup of theirs is followed.
        shown.add_row(Text(str(row[name])), f"{row[count]}{error}")
    return shown


def _time(unix_ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(unix_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "?"

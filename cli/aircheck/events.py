"""``aircheck events``: history as it was and as it happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

import typer
from contracts.system import SERVICES

from aircheck.api import Api
from aircheck.output import console, table

app = typer.Typer(help="List, show and follow events.", no_args_is_help=True)


@app.command("list")
def list_(
    stream: Annotated[str | None, typer.Option(help="Only one stream, e.g. session-0192….")] = None,
    service: Annotated[str | None, typer.Option(help=f"Only one service: {', '.join(SERVICES)}.")] = None,
    type: Annotated[
        str | None, typer.Option(help="Only one type, e.g. monitor.session.opened.v1; docs/events.md lists them.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Only positions after this one.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Show stored events, oldest first.

    Example: aircheck events list --type downloader.recording.segment_completed.v1 --json | jq .data
    """
    if service is not None and service not in SERVICES:
        raise typer.BadParameter(f"there is no service {service!r}; there are {', '.join(SERVICES)}")
    items = Api().pages("/api/events", stream=stream, service=service, type=type, after=after, order="asc")
    rows = table("Position", "Time", "Type", "Subject", "Version")
    shown = 0
    for event in islice(items, limit):
        shown += 1
        if as_json:
            typer.echo(json.dumps(event))
        else:
            rows.add_row(*_row(event))
    if not as_json:
        console.print(rows)
        if not shown:
            console.print("no event is like that; `aircheck events tail` follows what happens")


@app.command()
def show(
    position: Annotated[int, typer.Argument(min=1, help="Its position in the event store, as `events list` shows it.")],
) -> None:
    """Show one event whole."""
    console.print_json(json.dumps(Api().get(f"/api/events/{position}")))


@app.command()
def tail(
    since: Annotated[int | None, typer.Option(min=0, help="Begin after this position instead of now.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Follow events as they happen, until Ctrl-C.

    Example: aircheck events tail --since 0 --json | jq -r .type
    """
    headers = {} if since is None else {"Last-Event-ID": str(since)}
    with Api().stream("/api/events/stream", headers=headers) as lines:
        for position, event in sse(lines):
            if "type" not in event:
                console.print(
                    f"[yellow]the store ends at {event.get('position')}; following from there[/]", highlight=False
                )
            elif as_json:
                typer.echo(json.dumps(event))
            else:
                console.print("  ".join(_row({**event, "position": position})), highlight=False)


def sse(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(id, data) of each message of a server-sent event stream (WHATWG HTML, section 9.2); messages without data are left out."""
    identifier, data = "", []
    for line in lines:
        if line.startswith("id:"):
            identifier = line[3:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].strip())
        elif not line and data:
            text = "\n".join(data)
            data = []
            if text.startswith("{"):
                yield identifier, json.loads(text)


def _row(event: dict[str, Any]) -> tuple[str, ...]:
    short = str(event["type"]).removeprefix("aircheck.")
    return (
        str(event.get("position", "")),
        str(event["time"])[:23],
        short,
        str(event["subject"]),
        str(event.get("sequence", "")),
    )

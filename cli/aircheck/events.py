"""``aircheck events``: history as it was and as it happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Annotated, Any

import typer
from contracts.system import SERVICES

from aircheck.api import Api
from aircheck.output import console, table

app = typer.Typer(help="List, show and follow events.", no_args_is_help=True)


Stream = Annotated[str | None, typer.Option(help="Only one stream, e.g. session-0192….")]
Service = Annotated[str | None, typer.Option(help=f"Only one service: {', '.join(SERVICES)}.")]
Type = Annotated[
    str | None,
    typer.Option(
        help="Only one type, or its beginning: monitor.session.opened.v1, monitor.session, … (docs/events.md)."
    ),
]
Session = Annotated[str | None, typer.Option(metavar="ID", help="Only what belongs to one broadcast, of all services.")]
Streamer = Annotated[str | None, typer.Option(metavar="ID", help="Only what belongs to one streamer.")]
Correlation = Annotated[
    str | None, typer.Option(metavar="ID", help="Only what one click or one check led to (correlationid of an event).")
]


@app.command("list")
def list_(  # noqa: PLR0913, PLR0917 - one per option
    stream: Stream = None,
    service: Service = None,
    type: Type = None,
    session: Session = None,
    streamer: Streamer = None,
    correlation: Correlation = None,
    after: Annotated[int, typer.Option(min=0, help="Only positions after this one.")] = 0,
    newest: Annotated[bool, typer.Option("--newest", help="Begin with the newest.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Show stored events, oldest first.

    Example: aircheck events list --type downloader.recording.segment_completed.v1 --json | jq .data
    """
    wanted = _filter(stream, service, type, session, streamer, correlation)
    items = Api().pages("/api/events", **wanted, after=after, order="desc" if newest else "asc")
    rows = table("Position", "Time", "Type", "Stream", "Version")
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
        elif shown == limit and next(items, None) is not None:
            console.print(f"there are more; --limit shows more than {limit}, --newest begins at the other end")


@app.command()
def show(
    position: Annotated[int, typer.Argument(min=1, help="Its position in the event store, as `events list` shows it.")],
) -> None:
    """Show one event whole."""
    console.print_json(json.dumps(Api().get(f"/api/events/{position}")))


@app.command()
def story(
    position: Annotated[int, typer.Argument(min=1, help="The position of any event of the story.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Show everything that one click or one check led to, through all services.

    `Because of` is the position of the event that caused one; empty where a command did, which is work and not stored.
    """
    api = Api()
    correlation = api.get(f"/api/events/{position}")["correlationid"]
    events = list(api.pages("/api/events", correlation_id=correlation, order="asc"))
    if as_json:
        for event in events:
            typer.echo(json.dumps(event))
        return
    positions = {event["id"]: str(event["position"]) for event in events}
    begun = min(datetime.fromisoformat(event["time"]) for event in events)
    rows = table("Position", "Seconds", "Type", "Stream", "Because of")
    for event in events:
        seconds = (datetime.fromisoformat(event["time"]) - begun).total_seconds()
        place, _, kind, stream, _ = _row(event)
        rows.add_row(place, f"{seconds:.3f}", kind, stream, positions.get(event.get("causationid", ""), ""))
    console.print(f"correlation {correlation}, since {begun:%Y-%m-%d %H:%M:%S} UTC", highlight=False)
    console.print(rows)


@app.command()
def tail(
    since: Annotated[int | None, typer.Option(min=0, help="Begin after this position instead of now.")] = None,
    stream: Stream = None,
    service: Service = None,
    type: Type = None,
    session: Session = None,
    streamer: Streamer = None,
    correlation: Correlation = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Follow events as they happen, until Ctrl-C.

    Example: aircheck events tail --since 0 --json | jq -r .type
    """
    wanted = _filter(stream, service, type, session, streamer, correlation)
    headers = {} if since is None else {"Last-Event-ID": str(since)}
    with Api().stream("/api/events/stream", headers=headers, **wanted) as lines:
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


def _filter(
    stream: str | None,
    service: str | None,
    type: str | None,
    session: str | None,
    streamer: str | None,
    correlation: str | None,
) -> dict[str, str | None]:
    if service is not None and service not in SERVICES:
        raise typer.BadParameter(f"there is no service {service!r}; there are {', '.join(SERVICES)}")
    return {
        "stream": stream,
        "service": service,
        "type": type,
        "session_id": session,
        "streamer_id": streamer,
        "correlation_id": correlation,
    }


def _row(event: dict[str, Any]) -> tuple[str, ...]:
    short = str(event["type"]).removeprefix("aircheck.")
    return (
        str(event.get("position", "")),
        str(event["time"])[:23],
        short,
        str(event["stream"]),
        str(event.get("sequence", "")),
    )

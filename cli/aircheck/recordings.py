"""``aircheck recordings``: what runs and what waits, cuts, stops and slots."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from aircheck.api import Api
from aircheck.output import console, table

app = typer.Typer(help="Show, cut and stop recordings; set how many run at a time.", no_args_is_help=True)
Which = Annotated[str, typer.Argument(metavar="ID", help="The id of the recording, as `recordings list` shows it.")]


@app.command("list")
def list_(
    every: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
) -> None:
    """Show recordings, newest first; one that waits with its place in the queue."""
    rows = table("Streamer", "State", "Title", "Minutes", "MB", "Priority", "Id")
    shown = 0
    for number, one in enumerate(Api().pages("/api/recordings", active=None if every else True)):
        if number == limit:
            break
        seen = one["progress"] or one
        minutes, size = f"{seen['duration_ms'] / 60_000:.1f}", f"{seen['bytes'] / 1_000_000:.1f}"
        rows.add_row(one["streamer_name"], _state(one), one["title"], minutes, size, one["priority"], one["id"])
        shown += 1
    console.print(rows)
    if not shown:
        console.print("no recording yet" if every else "nothing is being recorded; --all shows what has ended")


@app.command()
def cut(which: Which) -> None:
    """Begin a new file at the next keyframe."""
    Api().post(f"/api/recordings/{which}/cut")
    console.print(f"{which}: a new file begins at the next keyframe", highlight=False)


@app.command()
def stop(which: Which) -> None:
    """End a recording and keep what was written; the streamer is still watched."""
    after = Api().post(f"/api/recordings/{which}/stop")
    console.print(f"{which}: {(after or {}).get('state', 'stopping')}", highlight=False)


@app.command()
def slots(
    number: Annotated[
        int | None,
        typer.Argument(min=0, max=1000, help="Recordings at a time of each replica; without it they are only shown."),
    ] = None,
    extra_high: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Recordings of high priority beyond that.")
    ] = None,
    scope: Annotated[str, typer.Option(help="The name of one replica as shown, or all.")] = "all",
    reset: Annotated[bool, typer.Option("--reset", help="Return to what the settings of the replicas say.")] = False,
) -> None:
    """Show or set how many recordings run at a time. What runs goes on; 0 lets a replica run empty.

    Examples: aircheck recordings slots; aircheck recordings slots 4 --extra-high 1; aircheck recordings slots --reset
    """
    if reset and (number is not None or extra_high is not None):
        raise typer.BadParameter("--reset goes without numbers: it returns to what the settings say")
    api = Api()
    now = api.get("/api/recordings/slots")
    if number is None and extra_high is None and not reset:
        _show(now)
        return
    known = [one["worker"] for one in now.get("replicas", [])]
    if not reset and scope not in ("all", *known):
        raise typer.BadParameter(f"no replica is called {scope!r}; there are {', '.join(known) or 'none'}")
    _show(api.patch("/api/recordings/slots", {"scope": scope, "slots": number, "extra_high": extra_high}))


def _state(recording: Any) -> str:
    place, due = recording["queue_position"], recording["not_before"]
    if place is None:
        return str(recording["state"])
    if due and datetime.fromisoformat(due) > datetime.now(UTC):
        return f"again at {datetime.fromisoformat(due).astimezone():%H:%M:%S}"
    return f"waits, {place}. in the queue"


def _show(found: Any) -> None:
    rows = table("Replica", "Slots", "Extra high", "Running", "Takes nothing because", "Engines left alone")
    for one in found.get("replicas", []):
        engines = ", ".join(f"{breaker['engine']} ({breaker['wait_s']:.0f} s)" for breaker in one["breakers"])
        numbers = [str(one[name]) for name in ("slots", "extra_high", "running")]
        rows.add_row(one["worker"], *numbers, one["paused"], engines)
    console.print(rows)
    console.print(f"{found.get('waiting', 0)} waiting; replicas follow a change within seconds", highlight=False)

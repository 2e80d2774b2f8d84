"""``aircheck dead-letters``: what could not be handled."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from aircheck.api import Api
from aircheck.output import console, table

app = typer.Typer(help="List, replay and drop messages that could not be handled.", no_args_is_help=True)
Letter = Annotated[str, typer.Argument(metavar="ID", help="Id from `aircheck dead-letters list`.")]


@app.command("list")
def list_(
    state: Annotated[Literal["buried", "replayed", "dropped"], typer.Option(help="What became of them.")] = "buried",
) -> None:
    """Show dead letters with their reason."""
    found = list(Api().pages("/api/dead-letters", state=state))
    if not found:
        console.print(f"no dead letter is {state}")
        return
    rows = table("Id", "Service", "Type", "Deliveries", "Reason", "Buried at")
    for one in found:
        reason = f"{one.get('error_type', '')}: {one.get('error', '')}"[:120]
        rows.add_row(
            one["id"],
            one["service"],
            str(one.get("type", "")),
            str(one.get("deliveries", "")),
            reason,
            str(one.get("buried_at", ""))[:19],
        )
    console.print(rows)


@app.command()
def show(letter: Letter) -> None:
    """Show one dead letter whole; `aircheck events list --stream dead_letter-ID` has its history."""
    console.print_json(json.dumps(Api().get(f"/api/dead-letters/{letter}")))


@app.command()
def replay(letter: Letter) -> None:
    """Handle a message again, as if it had just been delivered."""
    Api().post(f"/api/dead-letters/{letter}/replay")
    console.print("replayed")


@app.command()
def drop(letter: Letter) -> None:
    """Forget a message. Its burial stays in the history."""
    Api().delete(f"/api/dead-letters/{letter}")
    console.print("dropped")

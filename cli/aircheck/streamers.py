"""``aircheck streamers``: whom to watch."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from aircheck.api import Api, ApiError
from aircheck.output import console, table

app = typer.Typer(help="Add, list, start and stop watched channels.", no_args_is_help=True)
Which = Annotated[str, typer.Argument(metavar="URL|ID", help="The channel's address or the streamer's id.")]


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="Address of the channel, as in a browser, or of a .flv/.m3u8 stream.")],
    name: Annotated[str | None, typer.Option(help="How to call it; by default taken from the address.")] = None,
    template: Annotated[str | None, typer.Option(help="Id of a configuration template.")] = None,
) -> None:
    """Watch a channel from now on."""
    body = {key: value for key, value in {"url": url, "name": name, "template": template}.items() if value is not None}
    streamer = Api().post("/api/streamers", body)
    console.print(f"[green]added[/] {streamer.get('name', url)}  id {streamer['id']}", highlight=False)


@app.command("list")
def list_() -> None:
    """Show all streamers and what they are doing."""
    rows = table("Name", "State", "Platform", "Title", "Address", "Id")
    for one in Api().pages("/api/streamers"):
        channel = one.get("channel") or {}
        rows.add_row(one["name"], one["state"], one["platform"], channel.get("title") or "", one["url"], one["id"])
    console.print(rows)


@app.command()
def start(which: Which) -> None:
    """Watch a stopped streamer again."""
    _act(which, "start")


@app.command()
def stop(which: Which) -> None:
    """Stop watching; a running recording ends and keeps what was written."""
    _act(which, "stop")


@app.command()
def remove(which: Which) -> None:
    """Forget a streamer. Its recordings stay."""
    api = Api()
    streamer = find(api, which)
    api.delete(f"/api/streamers/{streamer['id']}")
    console.print(f"removed {streamer['name']}", highlight=False)


def find(api: Api, which: str) -> Any:
    """The streamer with an id, an address or a name; raises ApiError when none or several have it."""
    found = [one for one in api.pages("/api/streamers") if which in (one["id"], one["url"], one["name"])]
    if len(found) != 1:
        raise ApiError(f"{len(found) or 'no'} streamers match {which!r}; `aircheck streamers list` shows all")
    return found[0]


def _act(which: str, action: str) -> None:
    api = Api()
    streamer = find(api, which)
    after = api.post(f"/api/streamers/{streamer['id']}/{action}")
    console.print(f"{streamer['name']}: {(after or {}).get('state', action)}", highlight=False)

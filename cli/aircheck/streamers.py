"""``aircheck streamers``: whom to watch."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.markup import escape

from aircheck.api import Api, ApiError
from aircheck.call import BODY_HELP, read_json
from aircheck.output import console, table

app = typer.Typer(help="Add, list, start and stop watched channels.", no_args_is_help=True)
Which = Annotated[
    str, typer.Argument(metavar="URL|NAME|ID", help="The channel's address, or the streamer's name or id.")
]


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="Address of the channel, as in a browser, or of a .flv/.m3u8 stream.")],
    name: Annotated[str | None, typer.Option(help="How to call it; by default taken from the address.")] = None,
    template: Annotated[str | None, typer.Option(help="Id of a configuration template.")] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="JSON", help=f"Its own settings, see docs/recording.md. {BODY_HELP}")
    ] = None,
) -> None:
    """Watch a channel from now on.

    Examples:

    aircheck streamers add https://www.twitch.tv/name

    aircheck streamers add https://example.org/live.m3u8 --name news --layer '{"segment_seconds": 3600, "align_to_clock": true}'
    """
    given = {"url": url, "name": name, "template": template, "layer": None if layer is None else read_json(layer)}
    body = {key: value for key, value in given.items() if value is not None}
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
def settings(
    which: Which,
    layer: Annotated[str | None, typer.Argument(metavar="JSON", help=f"What to change. {BODY_HELP}")] = None,
) -> None:
    """Show what is in force for a streamer and which layer says so, or change its own settings first.

    Given fields are set, null returns a field to the layers below; the others stay. A running recording follows.

    Example: aircheck streamers settings news '{"engine": "ffmpeg", "quality": null}'
    """
    api = Api()
    streamer = find(api, which)
    if layer is not None:
        changed = read_json(layer)
        if not isinstance(changed, dict):
            raise typer.BadParameter('settings are a JSON object, as \'{"engine": "ffmpeg"}\'')
        own = {name: value for name, value in {**streamer["layer"], **changed}.items() if value is not None}
        streamer = api.patch(f"/api/streamers/{streamer['id']}", {"layer": own}) or streamer
    _show_settings(api.get(f"/api/streamers/{streamer['id']}"))


def _show_settings(streamer: Any) -> None:
    rows = table("Setting", "Value", "From")
    for name, value in (streamer["effective"] or {}).items():
        rows.add_row(name, escape(json.dumps(value, ensure_ascii=False)), streamer["provenance"].get(name, "default"))
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

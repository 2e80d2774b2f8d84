"""``aircheck``: run the system, talk to it, replay its history, record without it."""

from __future__ import annotations

import sys

import typer

from aircheck import call, chat, dead_letters, events, media, reclaim, record, recordings, replay, streamers, up
from aircheck.api import ApiError, NotLoggedIn

app = typer.Typer(
    name="aircheck",
    help="Watch live channels, record every broadcast with its chat, and replay how it came about.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Talks to the gateway at AIRCHECK_URL (default: the system of AIRCHECK_DATA on this machine) with AIRCHECK_TOKEN, or with "
    "AIRCHECK_USER and AIRCHECK_PASSWORD, or with the first password of a system on this machine. `record`, `media` and `chat` need no system. "
    "Exit codes, where a command does not say more: 0 done, 1 refused or not reachable, 2 wrong usage.",
)
app.command("up")(up.up)
app.command("new-key")(up.new_key)
app.command("record")(record.record)
app.command("reclaim")(reclaim.reclaim)
app.command("api")(call.call)
app.add_typer(chat.app, name="chat")
app.add_typer(streamers.app, name="streamers")
app.add_typer(recordings.app, name="recordings")
app.add_typer(events.app, name="events")
app.add_typer(replay.app, name="replay")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(media.app, name="media")


def run() -> None:
    """The entry point: errors of the API become one clear line and exit code 1."""
    try:
        app()
    except (ApiError, NotLoggedIn) as error:
        typer.secho(str(error), fg="red", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(141)


if __name__ == "__main__":
    run()

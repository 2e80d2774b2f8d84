"""``aircheck api``: any request to the gateway, logged in, for everything that has no command of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from aircheck.api import Api

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
BODY_HELP = (
    "JSON: as an argument, @FILE, or - for standard input. Secrets belong into a file: other users see arguments."
)


def call(
    method: Annotated[Method, typer.Argument(case_sensitive=False, help="What to do.")],
    path: Annotated[str, typer.Argument(help="Where, e.g. /api/streamers; GET /openapi.json lists all.")],
    body: Annotated[str | None, typer.Argument(metavar="BODY", help=BODY_HELP)] = None,
) -> None:
    """Send one request to the gateway with your login, and print the JSON that it answers.

    Examples:

    aircheck api GET /api/config

    aircheck api PUT /api/config '{"segment_seconds": 3600, "align_to_clock": true}'

    aircheck api PUT /api/credentials/mine @login.json

    Exit code 0: done. 1: refused, or nothing answers. 2: wrong usage.
    """
    if not path.startswith("/"):
        raise typer.BadParameter(f"{path!r} is no path; it begins with a slash, as /api/streamers does")
    answer = Api().request(method, path, read_json(body) if body is not None else None)
    if answer is not None:
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=2))


def read_json(text: str) -> Any:
    """The JSON that a person gave as an argument, as ``@FILE`` or as ``-``; raises typer.BadParameter that says where it is wrong."""
    try:
        written = sys.stdin.read() if text == "-" else Path(text[1:]).read_text("utf-8") if text[:1] == "@" else text
        return json.loads(written)
    except OSError as error:
        raise typer.BadParameter(f"{text[1:]} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{text[1:]} is not text in UTF-8") from None
    except json.JSONDecodeError as error:
        raise typer.BadParameter(
            f'not JSON at character {error.pos}: {error.msg}; write it as \'{{"engine": "ffmpeg"}}\''
        ) from None

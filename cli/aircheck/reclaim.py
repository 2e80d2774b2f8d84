"""``aircheck reclaim``: what would be removed to make room, and its removal."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import typer

from aircheck.api import Api, ApiError
from aircheck.output import console, table

POLL_S = 0.5
PATIENCE_S = 600.0


def reclaim(
    dry_run: Annotated[bool, typer.Option("--dry-run/--now", help="Only show what would go, or remove it.")] = True,
    keep_days: Annotated[
        float | None, typer.Option(min=0, help="Sessions that finished more than so many days ago go.")
    ] = None,
    max_total_gb: Annotated[
        float | None, typer.Option(min=0, help="The oldest go until so many GB are left in all.")
    ] = None,
    min_free_mb: Annotated[
        int | None, typer.Option(min=0, help="The oldest go until so many MB are free on the disk.")
    ] = None,
    only_uploaded: Annotated[
        Literal["no", "media", "all"] | None,
        typer.Option(help="What must have been uploaded before: nothing, the videos, every file."),
    ] = None,
) -> None:
    """Show which finished sessions the policy lets go, with all of their files; with --now, remove them.

    The policy is that of the PIPELINE_RECLAIM_… settings; an option replaces its rule for this time. A session goes when one of the rules
    says so; those that finished in the last 24 hours (PIPELINE_RECLAIM_PROTECT_HOURS) stay

    Examples: aircheck reclaim --keep-days 30; aircheck reclaim --max-total-gb 500 --only-uploaded media --now
    """
    api = Api()
    given = {
        "keep_days": keep_days,
        "max_total_gb": max_total_gb,
        "min_free_mb": min_free_mb,
        "only_uploaded": only_uploaded,
    }
    body = {"dry_run": dry_run, **{name: value for name, value in given.items() if value is not None}}
    shown = _answer(api, api.post("/api/reclaims", body))
    rows = table("Session", "Streamer", "Title", "Finished", "Files", "MB", "Why")
    for item in shown["items"]:
        why = f"stays: {item['blocked']}" if item["blocked"] else item["reason"]
        size = f"{item['bytes'] / 1_000_000:.1f}"
        rows.add_row(
            item["session_id"],
            item["streamer_name"],
            item["title"],
            item["finished_at"][:16],
            str(item["files"]),
            size,
            why,
        )
    console.print(rows)
    verb = "would go" if dry_run else "are gone"
    console.print(f"{shown['sessions']} sessions, {shown['bytes'] / 1_000_000:.1f} MB {verb}", highlight=False)


def _answer(api: Api, asked: Any) -> Any:
    """The request once it is over; raises ApiError when that takes too long."""
    request_id = asked.get("id")
    if request_id is None:
        raise ApiError("the request was accepted but is not known yet: is the pipeline running?")
    until = time.monotonic() + PATIENCE_S
    shown = asked
    while shown["state"] != "completed":
        if time.monotonic() > until:
            raise ApiError(f"no answer yet; GET /api/reclaims/{request_id} will have it")
        time.sleep(POLL_S)
        shown = api.get(f"/api/reclaims/{request_id}")
    return shown

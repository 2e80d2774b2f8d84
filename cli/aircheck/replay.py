"""``aircheck replay``: state at any point of history, read models built again, ranges published again."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from contracts.aggregate import Aggregate
from contracts.message import Event
from contracts.registry import UnknownMessage, load_vocabulary
from contracts.system import SERVICES
from pydantic import BaseModel
from rich.tree import Tree

from aircheck.api import Api, Json
from aircheck.output import console

app = typer.Typer(help="Go back in history.", no_args_is_help=True)


@dataclass
class Step:
    """One event and the state of its aggregate after it."""

    service: str
    position: int
    time: datetime
    type: str
    state: Any
    before: Any


@app.command()
def state(
    stream: Annotated[str, typer.Argument(help="A stream, e.g. session-0192… or recording-0192….")],
    at: Annotated[str | None, typer.Option(help="A position or a time (RFC 3339): the state as it was then.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show what each event changed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Only the state, as JSON, by service.")] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, exists=True, help="Read what `events list --json` wrote, instead of asking a system."
        ),
    ] = None,
) -> None:
    """Show the state of a stream now or at a point of its history, folded by the code that decides on it.

    Example: aircheck replay state session-0192… --at 2026-11-21T20:15:00Z --diff
    """
    events = from_file(file, stream) if file else Api().pages("/api/events", stream=stream, order="asc")
    steps = list(until(fold(events), at))
    if not steps:
        raise typer.BadParameter(
            f"no event of {stream!r}{f' before {at}' if at else ''}; `aircheck events list` shows what there is"
        )
    final = {step.service: plain(step.state) for step in steps}
    if as_json:
        typer.echo(json.dumps(final))
        return
    tree = Tree(stream)
    for step in steps:
        branch = tree.add(f"{step.position}  {step.time:%Y-%m-%d %H:%M:%S.%f}  {step.service}  {step.type}")
        for line in changes(step.before, step.state) if diff else ():
            branch.add(line)
    console.print(tree, highlight=False, markup=False)
    console.print_json(json.dumps(final))


@app.command()
def rebuild(projection: Annotated[str, typer.Argument(help="Name of a read model, or 'all'.")]) -> None:
    """Build a read model again from the event store, beside the old one, and swap it in."""
    api = Api()
    known = [one["name"] for one in api.get("/api/projections")["items"]]
    wanted = projection.replace("-", "_")
    if wanted not in (*known, "all"):
        raise typer.BadParameter(
            f"there is no read model {projection!r}; there are {', '.join(known)}, or all of them: all"
        )
    for name in known if wanted == "all" else [wanted]:
        with console.status(f"rebuilding {name} …"):
            done = api.post(f"/api/projections/{name}/rebuild")
        console.print(
            f"{name}: {done.get('events', '?')} events, position {done.get('position', '?')}", highlight=False
        )


@app.command()
def republish(
    service: Annotated[str, typer.Argument(help=f"Whose log: {', '.join(SERVICES)}.")],
    from_: Annotated[
        int, typer.Option("--from", min=0, help="First position of the service's own log; 0 = the beginning.")
    ] = 0,
    to: Annotated[int, typer.Option("--to", min=0, help="Last position; 0 = the end.")] = 0,
) -> None:
    """Publish a range of a service's log again, with the same ids: what the bus lost comes back, what it has is recognised."""
    if service not in SERVICES:
        raise typer.BadParameter(f"there is no service {service!r}; there are {', '.join(SERVICES)}")
    if to and to < from_:
        raise typer.BadParameter(f"--to {to} lies before --from {from_}")
    done = Api().post("/api/republish", {"service": service, "from_position": from_, "to_position": to})
    console.print(f"{service}: {done.get('events', '?')} events put into its outbox again", highlight=False)


def fold(events: Iterable[Json]) -> Iterator[Step]:
    """The states that a sequence of stored events leads through; events of retired types leave the state as it is."""
    registry = load_vocabulary()
    aggregates = all_aggregates()
    states: dict[str, Any] = {}
    for stored in events:
        kind = str(stored["type"]).removeprefix("aircheck.")
        service, name = kind.split(".")[:2]
        aggregate = aggregates.get((service, name))
        before = states.get(service, aggregate.initial if aggregate else None)
        try:
            event = registry.decode(kind, json.dumps(stored["data"]))
        except UnknownMessage:
            event = None
        after = aggregate.evolve(before, event) if aggregate and isinstance(event, Event) else before
        states[service] = after
        yield Step(service, int(stored["position"]), datetime.fromisoformat(stored["time"]), kind, after, before)


def from_file(path: Path, stream: str) -> list[Json]:
    """The events of a stream in a file with one event per line, in their order; raises typer.BadParameter for anything else."""
    found = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                event = json.loads(line)
                if event["stream"] == stream:
                    found.append((int(event["position"]), event))
            except (ValueError, KeyError, TypeError):
                raise typer.BadParameter(
                    f"line {number} of {path} is no event of `aircheck events list --json`"
                ) from None
    return [event for _, event in sorted(found, key=lambda one: one[0])]


def until(steps: Iterable[Step], at: str | None) -> Iterator[Step]:
    """Steps up to a position or a time; raises typer.BadParameter for a text that is neither."""
    if at is None:
        yield from steps
        return
    if at.isdigit():
        yield from (step for step in steps if step.position <= int(at))
        return
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise typer.BadParameter(f"{at!r} is neither a position nor a time such as 2026-11-21T20:00:00Z") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    yield from (step for step in steps if step.time <= moment)


def all_aggregates() -> dict[tuple[str, str], Aggregate[Any]]:
    """Every aggregate of every service by (service, name)."""
    found: dict[tuple[str, str], Aggregate[Any]] = {}
    for service in SERVICES:
        domain = importlib.import_module(f"services.{service}.domain")
        found |= {(service, aggregate.name): aggregate for aggregate in domain.AGGREGATES}
    return found


def plain(value: Any) -> Any:
    """A state as JSON values."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {_key(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _key(key: Any) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


def changes(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Lines ``path: old → new`` for every value that differs."""
    old, new = plain(before), plain(after)
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from changes(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield f"{path or 'state'}: {_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"

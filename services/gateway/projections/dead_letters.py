"""Messages that could not be handled, of every service."""

from __future__ import annotations

from contracts import system

from services.gateway.projections.model import Change, Folded, Row, Table, own_key

_SHAPES = (system.DeadLetterBuried, system.DeadLetterReplayed, system.DeadLetterDropped)
_ALL = tuple(system.of(service, shape) for service in system.SERVICES for shape in _SHAPES)


def letter(row: Row | None, change: Change) -> Row | None:
    """A dead letter after an event of its stream."""
    event = change.event
    if isinstance(event, system.DeadLetterBuried):
        begun = {"service": event.service, "state": "buried", "buried_at": change.time, "closed_at": None}
        return {**event.model_dump(mode="json"), **begun}
    if row is None:
        return None
    state = "replayed" if isinstance(event, system.DeadLetterReplayed) else "dropped"
    return {**row, "state": state, "closed_at": change.time}


DEAD_LETTERS = Folded("dead_letters", 1, _ALL, (Table("dead_letters", ("letter_id",), own_key(*_ALL), letter),))

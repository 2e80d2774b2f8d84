"""Where notifications go, and what became of each."""

from __future__ import annotations

from contracts.notifier import (
    NotificationDelivered,
    NotificationFailed,
    NotificationRequested,
    TargetRemoved,
    TargetSaved,
)

from services.gateway.projections.model import Change, Folded, Row, Table, own_key

_TARGET = (TargetSaved, TargetRemoved)
_SENT = (NotificationRequested, NotificationDelivered, NotificationFailed)


def target(row: Row | None, change: Change) -> Row | None:
    """A target after an event of its stream."""
    event = change.event
    if not isinstance(event, TargetSaved):
        return None
    created = row["created_at"] if row else change.time
    stamps = {"version": change.version, "created_at": created, "updated_at": change.time}
    return {**event.model_dump(mode="json"), **stamps}


def notification(row: Row | None, change: Change) -> Row | None:
    """A message to one target after an event of its stream."""
    event = change.event
    if isinstance(event, NotificationRequested):
        pending = {"state": "pending", "attempts": 0, "error": "", "requested_at": change.time, "ended_at": None}
        return {**event.model_dump(mode="json"), **pending}
    if row is None:
        return None
    match event:
        case NotificationDelivered():
            return {**row, "state": "delivered", "attempts": event.attempts, "ended_at": change.time}
        case NotificationFailed():
            return {**row, "state": "failed", "attempts": event.attempts, "error": event.error, "ended_at": change.time}
    return row


NOTIFICATIONS = Folded(
    "notifications",
    1,
    (*_TARGET, *_SENT),
    (
        Table("targets", ("target_id",), own_key(*_TARGET), target),
        Table("notifications", ("notification_id",), own_key(*_SENT), notification),
    ),
)

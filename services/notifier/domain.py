"""Places that want to hear of events, and what became of each message to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from uuid import UUID, uuid5

from contracts.aggregate import Aggregate, Rejected
from contracts.message import Event
from contracts.notifier import (
    NotificationDelivered,
    NotificationFailed,
    NotificationRequested,
    SaveTarget,
    TargetRemoved,
    TargetSaved,
)
from contracts.topology import NOTIFIABLE

KIND = "notification"
"""The kind of lease a delivery runs under."""
RETRY_CAP_S = 300.0
MAX_ERROR = 500
_PATTERN = re.compile(r"[a-z0-9_.*]{1,128}\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """One target. ``saved`` is its last form, ``None`` before the first one and after its removal."""

    saved: TargetSaved | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one target. ``open`` while it is to be delivered."""

    request: NotificationRequested | None = None
    open: bool = False
    failed: bool = False


def evolve_target(state: Place, event: Event) -> Place:
    """The target after an event."""
    match event:
        case TargetSaved():
            return Place(event)
        case TargetRemoved():
            return Place()
    return state


def evolve_notification(state: Notification, event: Event) -> Notification:
    """The notification after an event."""
    match event:
        case NotificationRequested():
            return Notification(event, open=True)
        case NotificationDelivered():
            return replace(state, open=False)
        case NotificationFailed():
            return replace(state, open=False, failed=True)
    return state


TARGET = Aggregate("target", Place(), evolve_target)
NOTIFICATION = Aggregate("notification", Notification(), evolve_notification)
AGGREGATES = (TARGET, NOTIFICATION)


def decide_save(state: Place, command: SaveTarget, host: str | None) -> list[Event]:
    """Set a target; ``host`` is what may be shown of a new address, ``None`` when the stored one is kept."""
    check_patterns(command.events)
    if host is None and (state.saved is None or state.saved.kind != command.kind):
        raise Rejected("No address", status=422, detail="a new target, and one of another kind, needs its address")
    saved = TargetSaved(
        target_id=command.target_id,
        kind=command.kind,
        name=command.name,
        host=(state.saved.host if state.saved else "") if host is None else host,
        events=command.events,
        enabled=command.enabled,
    )
    # A new address may look the same from outside, so only a kept one can leave everything as it is.
    return [] if host is None and saved == state.saved else [saved]


def decide_remove(state: Place, target_id: str) -> list[Event]:
    """Remove a target."""
    must_exist(state, target_id)
    return [TargetRemoved(target_id=target_id)]


def must_exist(state: Place, target_id: str) -> TargetSaved:
    """The target as it is; refuses when there is none."""
    if state.saved is None:
        raise Rejected("Unknown target", status=404, detail=f"there is no target {target_id}")
    return state.saved


def decide_request(
    state: Notification, *, notification_id: str, target_id: str, event_id: UUID, event_type: str
) -> list[Event]:
    """Tell one target of one event; a repeat is the same notification."""
    if state.request is not None:
        return []
    return [
        NotificationRequested(
            notification_id=notification_id, target_id=target_id, event_id=str(event_id), event_type=event_type
        )
    ]


def decide_again(state: Notification, notification_id: str) -> list[Event]:
    """Another try for a notification that failed; nothing for one that is under way or delivered."""
    if state.request is None:
        raise Rejected("Unknown notification", status=404, detail=f"there is no notification {notification_id}")
    return [state.request] if state.failed and not state.open else []


def decide_delivered(state: Notification, attempts: int) -> list[Event]:
    """The other side has it."""
    if state.request is None or not state.open:
        return []
    request = state.request
    return [
        NotificationDelivered(
            notification_id=request.notification_id,
            target_id=request.target_id,
            event_type=request.event_type,
            attempts=attempts,
        )
    ]


def decide_failed(state: Notification, attempts: int, error: str) -> list[Event]:
    """It is given up."""
    if state.request is None or not state.open:
        return []
    request = state.request
    return [
        NotificationFailed(
            notification_id=request.notification_id,
            target_id=request.target_id,
            event_type=request.event_type,
            attempts=attempts,
            error=error[:MAX_ERROR],
        )
    ]


def notification_id(event_id: UUID, target_id: str) -> str:
    """The id of what one target is told of one event: always the same, so that a repeat is recognised by both sides."""
    return uuid5(event_id, target_id).hex


def letter_id(notification_id: str, rounds: int) -> UUID:
    """The id of the command inside a dead letter: one per round of attempts, so that it is buried once."""
    return uuid5(UUID(notification_id), f"round {rounds}")


def wants(patterns: Sequence[str], event_type: str) -> bool:
    """Whether one of the patterns means an event; no patterns mean all.

    ``event_type`` is short (``monitor.session.opened.v1``); a pattern may leave out the version, or the version and the service.
    """
    versionless = event_type.rpartition(".v")[0]
    names = (event_type, versionless, versionless.partition(".")[2])
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def check_patterns(patterns: Sequence[str]) -> None:
    """Refuse patterns that no event will ever match: most likely typing errors."""
    for pattern in patterns:
        if not _PATTERN.match(pattern) or not any(wants((pattern,), cls.message_type) for cls in NOTIFIABLE):
            known = ", ".join(cls.message_type.rpartition(".v")[0] for cls in NOTIFIABLE)
            raise Rejected("Bad event pattern", status=422, detail=f"{pattern!r} matches none of: {known}")


def is_history(event_time: datetime, now: datetime, max_age_s: float) -> bool:
    """Whether an event is too old to be news."""
    return (now - event_time).total_seconds() > max_age_s


def pause_s(attempts: int, base_s: float, retry_after: float | None) -> float:
    """Seconds to wait after the n-th failed attempt: ``base_s * 2^n``, at most five minutes, unless the other side asks for more."""
    return max(min(base_s * 2.0 ** min(attempts, 30), RETRY_CAP_S), retry_after or 0.0)

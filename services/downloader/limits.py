"""How many recordings a replica may run, as people set it; pure."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.aggregate import Aggregate
from contracts.downloader import SetSlots, SlotsChanged
from contracts.message import Event
from contracts.values import Priority

ALL = "all"
"""The scope of what holds for every replica that has nothing of its own."""
PRIORITIES = {Priority.HIGH: 1, Priority.NORMAL: 0, Priority.LOW: -1}
"""Priorities of leases: from 1 on they may use the extra slots."""


@dataclass(frozen=True, slots=True)
class Slots:
    """What was set for a scope; ``None`` was not."""

    slots: int | None = None
    extra_high: int | None = None


def evolve_slots(state: Slots, event: Event) -> Slots:
    """The slots of a scope after an event."""
    return Slots(event.slots, event.extra_high) if isinstance(event, SlotsChanged) else state


SLOTS = Aggregate("slots", Slots(), evolve_slots)


def decide_slots(state: Slots, command: SetSlots) -> list[Event]:
    """Set both numbers of a scope; what is set already is no news."""
    if Slots(command.slots, command.extra_high) == state:
        return []
    return [SlotsChanged(**command.model_dump())]


def effective_slots(own: Slots, shared: Slots, settings: Slots) -> tuple[int, int]:
    """Slots and extra slots of a replica: its own, else those for all, else its settings."""

    def first(*values: int | None) -> int:
        return next((value for value in values if value is not None), 0)

    return (
        first(own.slots, shared.slots, settings.slots),
        first(own.extra_high, shared.extra_high, settings.extra_high),
    )

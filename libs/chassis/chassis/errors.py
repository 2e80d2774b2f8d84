"""What can go wrong in the chassis, by what follows from it."""

from __future__ import annotations


class Conflict(Exception):
    """Somebody appended to the stream since it was loaded: reload and decide again."""


class LeaseLost(Exception):
    """The lease named by an append has another epoch now: the work belongs to another replica, stop at once."""


class Poison(Exception):
    """A message that no retry will make good: it goes to the dead letters at once."""


class MessageTooLarge(Poison):
    """A message larger than the bus takes; storing it would block the relay for ever."""

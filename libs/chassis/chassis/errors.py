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


class ProcessEnded(Exception):
    """A message whose handling ends the process each time: it goes to the dead letters without being handled once more."""

    def __init__(self, times: int) -> None:
        super().__init__(f"its handling ended the process {times} {'time' if times == 1 else 'times'}")

"""What every ``domain.py`` is made of: an aggregate is a name, an empty state and a fold. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from contracts.message import Event
from contracts.values import Json, Problem

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Aggregate(Generic[S]):
    """``name`` is the aggregate token of its events; ``initial`` the state before the first one; ``evolve(state, event)`` the state after it."""

    name: str
    initial: S
    evolve: Callable[[S, Event], S]

    def stream(self, id: str) -> str:
        """The stream of one instance: ``<name>-<id>``."""
        return f"{self.name}-{id}"

    def fold(self, events: Iterable[Event], state: S | None = None) -> S:
        """The state after ``events``."""
        current = self.initial if state is None else state
        for event in events:
            current = self.evolve(current, event)
        return current


class Rejected(Exception):
    """The domain refuses a command. ``status`` is the HTTP status a caller of the API gets; nothing has changed."""

    def __init__(self, title: str, *, status: int = 409, detail: str = "", errors: tuple[Json, ...] = ()) -> None:
        super().__init__(title)
        self.problem = Problem(title=title, status=status, detail=detail, errors=errors)

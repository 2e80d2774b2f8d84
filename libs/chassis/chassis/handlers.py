"""What a service reacts to: one short function per consumed command or event, registered by a decorator.

``handlers = Handlers("monitor")`` in ``handlers.py``, then ``@handlers.command(CloseSession)`` above ``async def close_session(command, work)``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from contracts import topology
from contracts.message import Command, Event, Message

from chassis.work import Work

M = TypeVar("M", bound=Message)
C = TypeVar("C", bound=Command)
E = TypeVar("E", bound=Event)
Handler = Callable[[Any, Work], Awaitable[None]]


class Handlers:
    """The handlers of one service by message class."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._handlers: dict[type[Message], Handler] = {}
        self._direct: set[type[Message]] = set()

    def command(
        self, cls: type[C]
    ) -> Callable[[Callable[[C, Work], Awaitable[None]]], Callable[[C, Work], Awaitable[None]]]:
        """Handle a command of this service, once, inside one transaction."""
        if cls.service != self.service:
            raise TypeError(f"{cls.__name__} is a command of {cls.service}, not of {self.service}")
        return self._register(cls)

    def direct(
        self, cls: type[C]
    ) -> Callable[[Callable[[C, Work], Awaitable[None]]], Callable[[C, Work], Awaitable[None]]]:
        """Handle a command that may be lost: acknowledged first, no inbox, slow outside calls allowed before ``work.begin()``."""
        if cls not in topology.DIRECT:
            raise TypeError(f"{cls.__name__} is not declared in contracts.topology.DIRECT")
        self._direct.add(cls)
        return self.command(cls)

    def event(
        self, cls: type[E]
    ) -> Callable[[Callable[[E, Work], Awaitable[None]]], Callable[[E, Work], Awaitable[None]]]:
        """React to an event, once, inside one transaction."""
        if cls not in topology.CONSUMES[self.service]:
            raise TypeError(f"{self.service} does not consume {cls.__name__}: see contracts.topology.CONSUMES")
        return self._register(cls)

    def find(self, cls: type[Message]) -> Handler | None:
        """The handler of a class, if this service has one."""
        return self._handlers.get(cls)

    def is_direct(self, cls: type[Message]) -> bool:
        """Whether a message is handled without inbox."""
        return cls in self._direct

    def missing(self) -> list[str]:
        """Consumed events and owned commands without a handler: a service refuses to start with any."""
        from contracts.registry import load_vocabulary
        from contracts.system import SHAPES

        owned = [cls for cls in load_vocabulary().commands_of(self.service) if not issubclass(cls, SHAPES)]
        wanted = (*owned, *topology.CONSUMES[self.service])
        return [cls.__name__ for cls in wanted if cls not in self._handlers]

    def _register(
        self, cls: type[M]
    ) -> Callable[[Callable[[M, Work], Awaitable[None]]], Callable[[M, Work], Awaitable[None]]]:
        def register(function: Callable[[M, Work], Awaitable[None]]) -> Callable[[M, Work], Awaitable[None]]:
            if cls in self._handlers:
                raise TypeError(f"{cls.__name__} has two handlers in {self.service}")
            self._handlers[cls] = function
            return function

        return register

"""Type name → class, and the steps from an old major version to the newest one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from contracts.message import PREFIX, Command, Event, Message, Signal

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


class UnknownMessage(LookupError):
    """No class reads this type: another product, a newer major, or a typing error. It belongs in the dead letters."""


class Registry:
    """All message classes of one vocabulary. The module-level :data:`REGISTRY` is the one in use."""

    def __init__(self) -> None:
        self._classes: dict[str, type[Message]] = {}
        self._upcasters: dict[str, tuple[str, Upcaster]] = {}
        self._owned: dict[str, tuple[type[Command], ...]] = {}

    def add(self, cls: type[Message]) -> None:
        """Register a class under its type; raises TypeError when the name is taken."""
        if cls.message_type in self._classes:
            raise TypeError(f"{cls.message_type} is declared twice")
        self._classes[cls.message_type] = cls
        self._owned.clear()

    def upcast(self, old: str, new: str) -> Callable[[Upcaster], Upcaster]:
        """Declare how the data of ``old`` (``….v1``) becomes the data of ``new`` (``….v2``); steps chain.

        Raises TypeError when ``old`` has a step already or the chain would come back to it.
        """

        def declare(step: Upcaster) -> Upcaster:
            if old in self._upcasters or self._newest(new) == old:
                raise TypeError(f"a step from {old} to {new} would be the second one or close a circle")
            self._upcasters[old] = (new, step)
            return step

        return declare

    def find(self, message_type: str) -> type[Message]:
        """The class of a type, with or without the product prefix; raises :class:`UnknownMessage`."""
        try:
            return self._classes[message_type.removeprefix(f"{PREFIX}.")]
        except KeyError:
            raise UnknownMessage(message_type) from None

    def reads(self, message_type: str) -> bool:
        """Whether bodies of this type can be decoded, as they are or through steps; types of retired classes can be read by steps only."""
        return self._newest(message_type.removeprefix(f"{PREFIX}.")) in self._classes

    def _newest(self, name: str) -> str:
        while name in self._upcasters:
            name = self._upcasters[name][0]
        return name

    def decode(self, message_type: str, body: bytes | str) -> Message:
        """Read a body in the newest version of its type; raises UnknownMessage, or ValueError (which pydantic.ValidationError is) for a bad body."""
        name = message_type.removeprefix(f"{PREFIX}.")
        if name not in self._upcasters:
            return self.find(name).from_json(body)
        data = json.loads(body)
        if not isinstance(data, dict):
            raise ValueError(f"the body of {name} is not an object")
        while name in self._upcasters:
            name, step = self._upcasters[name]
            data = step(data)
        return self.find(name).model_validate(data, extra="ignore")

    def all(self) -> list[type[Message]]:
        """Every class in the order of the type names."""
        return list(self._sorted())

    def events(self) -> list[type[Event]]:
        """All event classes in the order of their type names."""
        return [cls for cls in self._sorted() if issubclass(cls, Event)]

    def commands(self) -> list[type[Command]]:
        """All command classes in the order of their type names."""
        return [cls for cls in self._sorted() if issubclass(cls, Command)]

    def commands_of(self, service: str) -> tuple[type[Command], ...]:
        """The commands that a service handles, in the order of their type names. Kept, so that a fork need not look at every class again."""
        if service not in self._owned:
            self._owned[service] = tuple(cls for cls in self.commands() if cls.service == service)
        return self._owned[service]

    def signals(self) -> list[type[Signal]]:
        """All signal classes in the order of their type names."""
        return [cls for cls in self._sorted() if issubclass(cls, Signal)]

    def _sorted(self) -> Iterable[type[Message]]:
        return (self._classes[name] for name in sorted(self._classes))


REGISTRY = Registry()


def load_vocabulary() -> Registry:
    """Import every module that declares messages and return the registry they filled."""
    from contracts import catalogue  # noqa: F401  (importing it declares the classes)

    return REGISTRY

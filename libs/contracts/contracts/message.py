"""The three kinds of message and how a class gets its type name, subject and key."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict

PREFIX = "aircheck"
_TYPE = re.compile(r"(?P<path>[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*){1,2})\.v(?P<major>[1-9][0-9]*)\Z")
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""An escaped U+0000 in JSON, but not an escaped backslash before the letters u0000."""
_REPLACEMENT = "�".encode()
TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
"""One subject token. Ends in ``\\Z`` because ``$`` would let a line break at the end through, and with it into the protocol of the bus."""


class Value(BaseModel):
    """A frozen value inside a message. Unknown fields are ignored on read, so that an older reader survives a newer writer.

    Not-a-number and infinity are refused: JSON has no word for them, so they would be written as null and never be read again.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # Pydantic copies every default that is a model for each object it makes; what never changes can be shared.
        return self


class Message(Value):
    """What travels on the bus. Concrete classes are declared as ``class X(Event, type="monitor.session.opened.v1", key="session_id")``."""

    message_type: ClassVar[str] = ""
    """Short type without the product prefix: ``service.aggregate.event.v1`` or ``service.command.v1``."""
    service: ClassVar[str] = ""
    message_name: ClassVar[str] = ""
    major: ClassVar[int] = 0
    key_field: ClassVar[str] = ""
    _parts: ClassVar[int] = 0

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        declared = kwargs.pop("type", None)
        key = kwargs.pop("key", None)
        super().__pydantic_init_subclass__(**kwargs)
        if declared is None:
            return
        match = _TYPE.match(declared)
        if match is None or len(match["path"].split(".")) != cls._parts:
            raise TypeError(
                f"{cls.__name__}: {declared!r} is not a message type with {cls._parts} names and a major version"
            )
        if key not in cls.model_fields:
            raise TypeError(f"{cls.__name__}: key {key!r} is not one of its fields")
        path = match["path"].split(".")
        cls.message_type, cls.service, cls.message_name = declared, path[0], path[-1]
        cls.major, cls.key_field = int(match["major"]), key
        cls._declare(path)

    def __init_subclass__(cls, type: str | None = None, key: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

    @classmethod
    def _declare(cls, path: list[str]) -> None:
        from contracts.registry import REGISTRY

        REGISTRY.add(cls)

    @property
    def key(self) -> str:
        """The id of the aggregate (events), of the thing asked about (commands) or of the last value (signals)."""
        return str(getattr(self, self.key_field))

    @classmethod
    def full_type(cls) -> str:
        """The CloudEvents ``type``: ``aircheck.<service>.<aggregate>.<event>.v<major>``."""
        return f"{PREFIX}.{cls.message_type}"

    def to_json(self) -> bytes:
        """The body as UTF-8 JSON, with U+0000 replaced by U+FFFD: PostgreSQL's ``jsonb`` has no place for it."""
        body = self.__pydantic_serializer__.to_json(self)
        return _NUL.sub(b"\\1" + _REPLACEMENT, body) if rb"\u0000" in body else body

    @classmethod
    def from_json(cls, body: bytes | str) -> Self:
        """Parse a body; raises pydantic.ValidationError.

        Unknown fields are ignored in every value, also where a person's input would be refused: the writer may be newer than this reader.
        """
        return cls.model_validate_json(body, extra="ignore")


class Event(Message):
    """A fact of one aggregate, kept for ever. ``key`` names the field that holds the aggregate's id."""

    aggregate: ClassVar[str] = ""
    _parts: ClassVar[int] = 3

    @classmethod
    def _declare(cls, path: list[str]) -> None:
        cls.aggregate = path[1]
        super()._declare(path)

    @property
    def stream(self) -> str:
        """The stream this event belongs to in its owner's log: ``<aggregate>-<id>``."""
        return f"{self.aggregate}-{self.key}"


class Command(Message):
    """A request to one service. It is durable, handled once, and leads to events or to a rejection."""

    _parts: ClassVar[int] = 2


class Signal(Message):
    """A last value that may be lost: speeds, progress, resolved sources. Never history."""

    _parts: ClassVar[int] = 2

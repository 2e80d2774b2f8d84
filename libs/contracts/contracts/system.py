"""What every service answers to, whatever its own business: one class per service of the same shape."""

from __future__ import annotations

import types
from typing import TypeVar, cast

from contracts.message import Command, Event, Message, Signal
from contracts.values import Id, Problem

M = TypeVar("M", bound=Message)

SERVICES = ("config", "scheduler", "monitor", "downloader", "danmu", "pipeline", "uploader", "notifier", "gateway")


class CommandRejected(Event):
    """A command was understood and refused; nothing changed. Its stream has this one event."""

    command_id: Id
    command_type: str
    problem: Problem


class Republish(Command):
    """Send a range of a service's own log to the bus again, with the same ids. Positions are inclusive; 0 means open."""

    request_id: Id
    from_position: int = 0
    to_position: int = 0
    stream: str = ""
    from_version: int = 0


class LogRepublished(Event):
    """A range of a log was put into the outbox again."""

    request_id: Id
    events: int


class ReplayDeadLetter(Command):
    """Handle a buried message again, as if it had just been delivered."""

    letter_id: Id


class DropDeadLetter(Command):
    """Forget a buried message."""

    letter_id: Id


class DeadLetterBuried(Event):
    """A message could not be handled and was put aside with its reason; it can be listed, replayed or dropped."""

    letter_id: Id
    consumer: str
    message_id: str
    letter_type: str
    subject: str
    error_type: str
    error: str
    deliveries: int


class DeadLetterReplayed(Event):
    """A buried message was handled again with success and is buried no more."""

    letter_id: Id


class DeadLetterDropped(Event):
    """Somebody decided that a buried message need not be handled."""

    letter_id: Id


class CommandSettled(Signal):
    """A command was handled and changed nothing, so that no event will name it. Lets a caller stop waiting."""

    command_id: Id


_SHAPES: tuple[tuple[type[Message], str, str], ...] = (
    (CommandRejected, "{service}.command.rejected.v1", "command_id"),
    (CommandSettled, "{service}.settled.v1", "command_id"),
    (Republish, "{service}.republish.v1", "request_id"),
    (LogRepublished, "{service}.log.republished.v1", "request_id"),
    (ReplayDeadLetter, "{service}.replay_dead_letter.v1", "letter_id"),
    (DropDeadLetter, "{service}.drop_dead_letter.v1", "letter_id"),
    (DeadLetterBuried, "{service}.dead_letter.buried.v1", "letter_id"),
    (DeadLetterReplayed, "{service}.dead_letter.replayed.v1", "letter_id"),
    (DeadLetterDropped, "{service}.dead_letter.dropped.v1", "letter_id"),
)


def _declare(service: str, shape: type[Message], template: str, key: str) -> type[Message]:
    name = f"{service.title()}{shape.__name__}"
    body = {"__doc__": shape.__doc__, "__module__": __name__}
    return types.new_class(
        name, (shape,), {"type": template.format(service=service), "key": key}, lambda space: space.update(body)
    )


SHAPES = tuple(shape for shape, _, _ in _SHAPES)
"""The classes below which every service has its own."""

_DECLARED = {
    (service, shape): _declare(service, shape, template, key)
    for service in SERVICES
    for shape, template, key in _SHAPES
}


def of(service: str, shape: type[M]) -> type[M]:
    """The class of one service for a shape declared here: ``of("monitor", Republish)``. Raises KeyError for an unknown service."""
    return cast("type[M]", _DECLARED[service, shape])

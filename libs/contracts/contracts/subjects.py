"""The only place that spells a subject."""

from __future__ import annotations

from contracts.message import TOKEN, Command, Event, Message, Signal
from contracts.registry import REGISTRY, UnknownMessage


class BadToken(ValueError):
    """An id that cannot be a subject token (dots, spaces, wildcards, too long)."""


def token(value: str) -> str:
    """Check an id for use as one subject token and return it; raises :class:`BadToken`."""
    if not TOKEN.match(value):
        raise BadToken(f"{value!r} cannot be part of a subject: use letters, digits, '_' and '-', at most 128")
    return value


def of(message: Message) -> str:
    """The subject a message is published on."""
    if isinstance(message, Event):
        return f"evt.{message.service}.{message.aggregate}.{token(message.key)}.{message.message_name}.v{message.major}"
    if isinstance(message, Command):
        return f"cmd.{message.service}.{message.message_name}.v{message.major}"
    return f"sig.{message.service}.{message.message_name}.{token(message.key)}"


def of_recorded(message_type: str, stream: str) -> str:
    """The subject of a recorded event by its type and its stream, also when no class reads the type any more."""
    service, aggregate, name, major = message_type.split(".")
    return f"evt.{service}.{aggregate}.{token(stream.removeprefix(f'{aggregate}-'))}.{name}.{major}"


def filter_of(cls: type[Message]) -> str:
    """The subject filter that matches every message of a class."""
    if issubclass(cls, Event):
        return f"evt.{cls.service}.{cls.aggregate}.*.{cls.message_name}.v{cls.major}"
    if issubclass(cls, Command):
        return f"cmd.{cls.service}.{cls.message_name}.v{cls.major}"
    return f"sig.{cls.service}.{cls.message_name}.*"


def template_of(message_type: str) -> str:
    """The subject with the id left out, fit for metric labels and span names: ``evt.monitor.session.{id}.opened.v1``.

    A type nobody declared is ``unknown``, so that labels stay few whatever arrives.
    """
    try:
        return filter_of(REGISTRY.find(message_type)).replace("*", "{id}")
    except UnknownMessage:
        return "unknown"


def events_of(service: str) -> str:
    """Everything a service may append: ``evt.<service>.>``."""
    return f"evt.{service}.>"


def commands_of(service: str) -> str:
    """Everything a service may be asked: ``cmd.<service>.>``."""
    return f"cmd.{service}.>"


def signals_of(service: str) -> str:
    """Every signal of a service: ``sig.<service>.>``."""
    return f"sig.{service}.>"


def signal(cls: type[Signal], key: str) -> str:
    """The subject of one last value."""
    return f"sig.{cls.service}.{cls.message_name}.{token(key)}"


def log_of(service: str, level: str) -> str:
    """Where a service's log lines of one level go."""
    return f"log.{service}.{level}"


def chat_of(session_id: str) -> str:
    """Where the live chat lines of a session go."""
    return f"chat.{token(session_id)}"


def dead_letter_of(service: str, consumer: str) -> str:
    """Where a consumer of a service puts what it cannot handle."""
    return f"dlq.{service}.{token(consumer)}"

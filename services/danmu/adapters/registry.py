"""Which driver speaks which chat protocol."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

import aiohttp

from services.danmu.adapters.source import ChatSource


class UnknownChatKind(LookupError):
    """No driver is registered for this kind of chat."""


class InvalidDescriptor(ValueError):
    """A descriptor lacks what its driver needs, or holds it in a wrong shape."""


class Opener(Protocol):
    """Makes a source, without connecting yet. Raises InvalidDescriptor."""

    def __call__(
        self, descriptor: Mapping[str, object], session: aiohttp.ClientSession, /, **options: Any
    ) -> ChatSource: ...


_Registered = TypeVar("_Registered", bound=Callable[..., ChatSource])
_openers: Final[dict[str, Opener]] = {}


def source(kind: str) -> Callable[[_Registered], _Registered]:
    """Register a class or function that makes the source of one kind of chat."""

    def register(opener: _Registered) -> _Registered:
        if kind in _openers:
            raise ValueError(f"two drivers for {kind!r}")
        _openers[kind] = opener
        return opener

    return register


def open_source(
    kind: str, descriptor: Mapping[str, object], session: aiohttp.ClientSession, **options: Any
) -> ChatSource:
    """The source for a channel's chat; it connects when it is iterated.

    `descriptor` is what the monitor said about the chat, `session` guards against forged addresses and stays the
    caller's to close, `options` are the driver's own. Raises UnknownChatKind, InvalidDescriptor.
    """
    opener = _openers.get(kind)
    if opener is None:
        raise UnknownChatKind(f"no driver for chat of kind {kind!r}")
    return opener(descriptor, session, **options)


def text_options(kind: str) -> frozenset[str]:
    """The names of the options of a driver that are plain text, and so may come from the settings. Raises UnknownChatKind."""
    opener = _openers.get(kind)
    if opener is None:
        raise UnknownChatKind(f"no driver for chat of kind {kind!r}")
    parameters = inspect.signature(opener).parameters.values()
    keywords = (one for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY)
    return frozenset(one.name for one in keywords if one.annotation in (str, "str"))


def takes_egress(kind: str) -> bool:
    """Whether a driver connects past the session and so wants the policy itself, as its keyword ``egress``."""
    opener = _openers.get(kind)
    return opener is not None and "egress" in inspect.signature(opener).parameters


def takes_account(kind: str) -> bool:
    """Whether a driver can join with a login and so wants its keyword ``account`` (see `accounts.LoginOf`)."""
    opener = _openers.get(kind)
    return opener is not None and "account" in inspect.signature(opener).parameters


def kinds() -> tuple[str, ...]:
    """The kinds of chat that can be opened."""
    return tuple(sorted(_openers))

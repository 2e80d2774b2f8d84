"""Docstrings as documentation: what a person reads about a message is written once, beside its class."""

from __future__ import annotations

import inspect
import re

from contracts.message import Message

_SENTENCE = re.compile(r"(.+?[.!?])(?:\s+(?=[A-Z`*]|$)|$)", re.DOTALL)


def description(cls: type[Message]) -> str:
    """The whole docstring of a message as Markdown; empty when it has none of its own."""
    return markdown(inspect.cleandoc(cls.__dict__.get("__doc__") or ""))


def when(cls: type[Message]) -> str:
    """The first sentence of the docstring on one line: when the message happens."""
    text = " ".join(description(cls).split())
    match = _SENTENCE.match(text)
    return match[1] if match else text


def markdown(text: str) -> str:
    """Docstring text with its literals in the single backticks of Markdown."""
    return text.replace("``", "`")

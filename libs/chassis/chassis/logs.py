"""structlog: JSON lines for machines, colours for a terminal; secrets redacted by field name and in addresses, in tracebacks and the lines of
libraries too."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from io import StringIO
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor

from chassis.redaction import without_secrets

_SECRET = ("password", "secret", "token", "cookie", "authorization", "dsn", "api_key")


def configure(service: str, *, level: str = "INFO", json_lines: bool | None = None) -> None:
    """Set up logging for this process. ``json_lines`` defaults to: unless standard error is a terminal."""
    as_json = not sys.stderr.isatty() if json_lines is None else json_lines
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Service(service),
    ]
    final: list[Processor] = (
        [structlog.processors.format_exc_info, redact, structlog.processors.JSONRenderer()]
        if as_json
        else [redact, structlog.dev.ConsoleRenderer(exception_formatter=_traceback)]
    )
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_Redacting("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(handlers=[lines], force=True)
    if logging.root.level != logging.WARNING:
        # Only then: setting a level visits every logger of the process.
        logging.root.setLevel(logging.WARNING)


def redact(_: Any, __: str, event: EventDict) -> EventDict:
    """Replace the value of every field whose name speaks of a secret, at any depth, and what opens an address in every text."""
    return {name: _redacted(name, value) for name, value in event.items()}


def _redacted(name: object, value: Any) -> Any:
    if any(word in str(name).lower() for word in _SECRET):
        return "***"
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {inner: _redacted(inner, one) for inner, one in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted("", one) for one in value]
    return value


def _traceback(out: TextIO, exception: ExcInfo) -> None:
    # Without local variables, which the default formatter prints, secrets among them.
    text = StringIO()
    structlog.dev.plain_traceback(text, exception)
    out.write(without_secrets(text.getvalue()))


class _Redacting(logging.Formatter):
    """What libraries say, and the tracebacks of tasks that nobody asked."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class _Service:
    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, _: Any, __: str, event: EventDict) -> EventDict:
        event["service"] = self._name
        return event

"""No secret in a log line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from chassis.logs import redact

from tests.deadline import DEADLINE_S


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "nats_password",
        "SECRET_KEY",
        "token",
        "refresh_token",
        "cookie",
        "Authorization",
        "database_dsn",
        "api_key",
    ],
)
def test_a_field_that_speaks_of_a_secret_shows_none(name: str) -> None:
    assert redact(None, "info", {"event": "e", name: "hidden"}) == {"event": "e", name: "***"}


def test_at_any_depth() -> None:
    line = {
        "event": "e",
        "request": {"headers": {"Cookie": "hidden"}, "items": [{"token": "hidden"}, "fine"]},
        "numbers": (1, 2),
    }
    assert redact(None, "info", line) == {
        "event": "e",
        "request": {"headers": {"Cookie": "***"}, "items": [{"token": "***"}, "fine"]},
        "numbers": [1, 2],
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot reach postgresql://u:pw@host/db now", "cannot reach postgresql://***@host/db now"),
        ("nats://user:pw@a:1,nats://b:2", "nats://***@a:1,nats://b:2"),
        ("https://example.org/a@b", "https://example.org/a@b"),
        ("someone@example.org", "someone@example.org"),
        ("GET https://cdn.example/a.flv?token=hidden&x=1 failed", "GET https://cdn.example/a.flv?*** failed"),
        ("url='srt://example.org:9000?passphrase=hidden'", "url='srt://example.org:9000?***'"),
        ("rtmp://example.org/live/hidden?x=hidden gone", "rtmp://example.org/*** gone"),
        ("what? https://example.org/", "what? https://example.org/"),
    ],
)
def test_credentials_in_an_address_are_left_out(text: str, shown: str) -> None:
    assert redact(None, "info", {"event": text})["event"] == shown


def test_lines_are_json_with_level_time_and_service_and_the_redaction_is_in_the_chain() -> None:
    program = (
        "import structlog; from chassis import logs; logs.configure('config', level='INFO', json_lines=True);"
        "log = structlog.get_logger(); log.debug('unseen'); log.info('seen', password='hidden', at='nats://u:p@h');\n"
        "try: 1 / 0\nexcept ZeroDivisionError: log.exception('failed')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert done.stdout == ""
    seen, failed = (json.loads(line) for line in done.stderr.splitlines())
    assert (seen["event"], seen["level"], seen["service"]) == ("seen", "info", "config")
    assert (seen["password"], seen["at"]) == ("***", "nats://***@h")
    assert seen["timestamp"].endswith("Z")
    assert "ZeroDivisionError" in failed["exception"]


@pytest.mark.parametrize("json_lines", [True, False])
def test_neither_a_traceback_nor_the_line_of_a_library_shows_what_opens_an_address(json_lines: bool) -> None:
    program = (
        f"import logging, structlog; from chassis import logs; logs.configure('config', json_lines={json_lines});"
        "address = 'https://u:hidden@example.org/x?token=' + 'hidden'\n"
        "try: raise ValueError(f'no answer from {address}')\n"
        "except ValueError as error:\n"
        "    structlog.get_logger().exception('failed')\n"
        "    logging.getLogger('library').error('cannot read %s', address, exc_info=error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S, check=True
    )
    assert done.stderr.count("https://***@example.org/x?***") == 3
    assert "hidden" not in done.stderr

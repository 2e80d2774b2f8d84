"""What the pages for people say can be done: every command and option exists, every settings object is one."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from aircheck.main import app
from contracts.config import Secrets
from contracts.engines import options_of
from contracts.values import Layer

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "docs/recording.md",
    "docs/chat.md",
    "docs/replay.md",
    "docs/runbook.md",
    "services/danmu/README.md",
)
_COMMAND = re.compile(r"(?:^|`|\s)(?:\.venv/bin/)?(aircheck (?:[a-z][^`\n]*))", re.MULTILINE)
_OBJECT = re.compile(r"^(\{\".*\})$|`(\{\"[^`]*\})`|'(\{\"[^'\n]*\})'", re.MULTILINE)
_OTHERS = {"name", "type", "files"}
"""First fields of objects that are no settings: credentials, templates, messages."""


def commands(page: str) -> list[list[str]]:
    """The words of every command on a page, without what a shell takes out."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [re.split(r"\s+#|\s\||;|→", line)[0] for line in _COMMAND.findall(text)]
    return [shlex.split(line)[1:] for line in found if line.count("'") % 2 == 0]


def resolved(words: list[str]) -> str | None:
    """What is wrong with a command; None when it and its options exist."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        if not rest or rest[0].startswith("-") or rest[0] not in command.commands:
            return None if not rest else f"there is no command {' '.join(words)!r}"
        command = command.commands[rest.pop(0)]
    known = {"--help"} | {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    wrong = [word for word in rest if re.fullmatch(r"--?[a-z][a-z-]*", word) and word not in known]
    return f"{' '.join(words)!r} has no {wrong}" if wrong else None


@pytest.mark.parametrize("page", PAGES)
def test_every_command_on_a_page_exists(page: str) -> None:
    assert [wrong for words in commands(page) if (wrong := resolved(words))] == []


def test_the_pages_are_read() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 40
    assert resolved(["streamers", "ad", "URL"]) and resolved(["reclaim", "--keep-day", "30"])


@pytest.mark.parametrize("page", ["docs/recording.md", "docs/chat.md"])
def test_every_settings_object_on_a_page_is_one(page: str) -> None:
    objects = [json.loads("".join(found)) for found in _OBJECT.findall((ROOT / page).read_text(encoding="utf-8"))]
    settings = [one for one in objects if next(iter(one)) not in _OTHERS]
    assert settings
    for one in settings:
        options_of(dict(Layer.model_validate(one).engine_options or {}))


def test_the_credential_on_the_page_is_one() -> None:
    text = (ROOT / "docs/recording.md").read_text(encoding="utf-8")
    body = next(json.loads(line) for line in text.splitlines() if line.startswith('{"name": "my login"'))
    secrets = {name: value for name, value in body.items() if name in Secrets.model_fields}
    shown = json.loads(json.dumps(secrets).replace("\\u2026", "x"))

    assert set(body) - set(secrets) == {"name", "domains"}
    assert Secrets.model_validate(shown).cookies == {"SESSDATA": "x"}

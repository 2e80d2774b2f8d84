"""The boundaries of the architecture hold on this tree, and a breach of each of them is reported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "services": ROOT / "services",
    "deploy": ROOT / "deploy",
    "contracts": ROOT / "libs/contracts/contracts",
    "chassis": ROOT / "libs/chassis/chassis",
    "media": ROOT / "libs/media/media",
    "aircheck": ROOT / "cli/aircheck",
}
INDEPENDENT = "A service never imports another service"
LAYERS = "cli -> deploy -> services -> chassis -> contracts, never upward"
INSIDE = "inside a service"
NO_IO = "domain.py does no I/O"
ENGINES = "only the chassis talks to NATS and PostgreSQL"
PURE = "media is pure: no network, no asyncio"


def lint(tree: Path) -> tuple[int, str]:
    """Run import-linter on a tree; returns its exit code and what it said."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from importlinter.cli import lint_imports_command as run; sys.exit(run())",
            "--no-cache",
        ],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources, importable before the installed ones, with the rules of this project."""
    ignore = shutil.ignore_patterns(
        "tests", "__pycache__", "*.sql", "web", "node_modules", "static", "*.js", "*.json", "*.md"
    )
    for name, source in SOURCES.items():
        shutil.copytree(source, tmp_path / name, ignore=ignore)
        (tmp_path / name / "__init__.py").touch()
    shutil.copy(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


def test_the_tree_keeps_every_rule(tree: Path) -> None:
    code, said = lint(tree)
    assert code == 0, said
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    for rule in rules:
        assert f"{rule['name']} KEPT" in said
    assert {rule["name"] for rule in rules} >= {INDEPENDENT, LAYERS, INSIDE, NO_IO, ENGINES, PURE}


def plant(path: str, line: str) -> Callable[[Path], None]:
    def do(tree: Path) -> None:
        target = tree / path
        target.write_text(f"{target.read_text()}\n{line}\n")

    return do


BREACHES = {
    "a service imports another": (plant("services/monitor/domain.py", "import services.config.domain"), INDEPENDENT),
    "contracts import the chassis": (plant("contracts/values.py", "import chassis.ids"), LAYERS),
    "the chassis imports a service": (plant("chassis/ids.py", "import services.config.domain"), LAYERS),
    "a service imports the deployment": (plant("services/config/app.py", "import deploy.embedded.ports"), LAYERS),
    "media imports the contracts": (plant("media/__init__.py", "import contracts.values"), PURE),
    "a domain imports its store": (plant("services/config/domain.py", "import services.config.store"), INSIDE),
    "a store imports the handlers": (plant("services/config/store.py", "import services.config.handlers"), INSIDE),
    "a domain talks to the database": (plant("services/config/domain.py", "import asyncpg"), NO_IO),
    "a domain talks HTTP": (plant("services/monitor/domain.py", "import aiohttp"), NO_IO),
    "a handler talks to the bus": (plant("services/config/handlers.py", "import nats"), ENGINES),
    "a store talks to the driver": (plant("services/config/store.py", "import asyncpg"), ENGINES),
    "a service uses faststream": (plant("services/config/app.py", "import faststream"), ENGINES),
    "media knows the event loop": (plant("media/__init__.py", "import asyncio"), PURE),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_is_reported(tree: Path, breach: str) -> None:
    how, rule = BREACHES[breach]
    how(tree)
    code, said = lint(tree)
    assert code == 1, said
    assert f"{rule} BROKEN" in said

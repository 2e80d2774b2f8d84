"""What a newcomer types: the targets of the Makefile, on a machine that may be too old, from locked dependencies."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory", *arguments], check=False, capture_output=True, text=True
    )


def declared() -> set[str]:
    [line] = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    return set(line.split())


def test_make_alone_lists_every_target_and_does_nothing_else() -> None:
    listed = make()
    assert listed.returncode == 0, listed.stderr
    assert {line.split()[1] for line in listed.stdout.splitlines()} == declared()
    assert all(len(line.split()) > 3 for line in listed.stdout.splitlines()), "each says what it does"


def test_the_pages_name_no_target_that_does_not_exist() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    named = {
        name for page in pages for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE)
    }
    assert {"run", "demo", "test", "bench"} <= named
    assert named <= declared()


def test_a_python_that_is_too_old_is_named_and_nothing_is_installed(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    pretend = "import sys; sys.version_info = (3, 9, 2, 'final', 0); exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\n[ "$1" = -c ] || exit 99\nexec {sys.executable} -c "{pretend}" "$2"\n')
    old.chmod(0o755)
    refused = make("run", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert refused.returncode != 0
    assert "Aircheck needs Python 3.11 or newer, this is 3.9" in refused.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_everything_by_hash_and_names_no_index(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    requirements = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    assert len(requirements) > 50
    assert [line for line in requirements if "==" not in line] == []
    assert [block.split()[0] for block in blocks if block[:1].isalnum() and "--hash=sha256:" not in block] == []
    assert "://" not in text

"""The generated files of this checkout are those its classes give, and no schema has changed incompatibly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_generated_files_are_up_to_date_and_compatible() -> None:
    check = [sys.executable, "-m", "contracts", "--root", str(ROOT), "check"]
    done = subprocess.run(check, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

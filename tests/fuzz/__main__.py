"""``python -m tests.fuzz [TARGET] [libFuzzer options]``: coverage-guided fuzzing of one target, or of each for a while.

Finds go to ``.fuzz/<target>/`` as ``crash-…``; what found new coverage to ``.fuzz/<target>/corpus``. The seeds in ``tests/fuzz/corpus``
are read, never written: a find worth keeping is copied there by hand, and is then an ordinary test.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SEEDS = Path(__file__).parent / "corpus"
NAMES = ("flv_parser", "amf0", "m3u8", "mpegts", "fmp4", "chain", "chain_bytes", "chunked")


def main(arguments: list[str]) -> int:
    """Run one target in this process, or all of them one after the other; the exit code tells whether there were finds."""
    if arguments and arguments[0] in NAMES:
        return _fuzz(arguments[0], arguments[1:])
    worst = 0
    for name in NAMES:
        print(f"== {name}", flush=True)
        worst = max(worst, subprocess.call([sys.executable, "-m", "tests.fuzz", name, *arguments], cwd=ROOT))
    return worst


def _fuzz(name: str, options: list[str]) -> int:
    import atheris

    with atheris.instrument_imports(include=["media"]):
        from tests.fuzz.targets import TARGETS
    folder = ROOT / ".fuzz" / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    defaults = [
        "-max_len=4096",
        "-print_final_stats=1",
        "-close_fd_mask=0",
        f"-artifact_prefix={folder}/",
        "-timeout=20",
    ]
    atheris.Setup([name, *defaults, *options, str(folder / "corpus"), str(SEEDS / name)], TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

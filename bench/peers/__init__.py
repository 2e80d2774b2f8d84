"""Peers that are not ours to install beside us: each set lives in a virtual environment of its own, made on first use from a locked list.

The environments are kept in the user's cache folder, named by the contents of their lock, so that a second run starts at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
INSTALL_S = 300


class PeerMissing(Exception):
    """A peer could not be installed here; the message says why in one line."""


async def environment(name: str) -> Path:
    """The Python interpreter of a set of peers (``recorders``, ``chat``), installed when it is not there yet. Raises PeerMissing."""
    lock = FOLDER / f"{name}.lock"
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = _cache() / "aircheck-bench" / f"{name}-{digest}"
    python = home / "bin" / "python"
    if (home / "complete").exists():
        return python
    shutil.rmtree(home, ignore_errors=True)
    await _run(sys.executable, "-m", "venv", str(home))
    await _run(
        str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", str(lock)
    )  # fmt: skip
    (home / "complete").touch()
    return python


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(INSTALL_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise PeerMissing(f"{Path(command[0]).name} took longer than {INSTALL_S} s") from None
    if process.returncode:
        last = output.decode(errors="replace").strip().splitlines()
        raise PeerMissing(last[-1][:200] if last else f"exit {process.returncode}")

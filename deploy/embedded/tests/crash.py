"""Processes for tests that must die without a chance to clean up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deadline import DEADLINE_S

START_ENGINES = """
import sys, time
from pathlib import Path

from tests.deadline import DEADLINE_S
from deploy.embedded.nats_server import NatsServer
from deploy.embedded.postgres_server import PostgresServer
folder = Path(sys.argv[1])
engines = [NatsServer(folder / "nats"), PostgresServer(folder / "postgres")]
for engine in engines:
    engine.start()
print(*[engine.pid for engine in engines], flush=True)
sys.stdin.read()
"""

# The intermediate process ends at once, as a killed supervisor does on a system without PR_SET_PDEATHSIG.
START_ORPHAN = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
print(child.pid, flush=True)
"""


@contextmanager
def supervisor(folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Run a process that starts both engines below `folder`; give it and the pids of the engines."""
    argv = [sys.executable, "-c", START_ENGINES, str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, [int(pid) for pid in process.stdout.readline().split()]
        finally:
            process.kill()


def orphan(argv: list[str]) -> int:
    """Start `argv` so that it outlives the process that started it; return its pid."""
    result = subprocess.run(
        [sys.executable, "-c", START_ORPHAN, *argv], check=True, capture_output=True, text=True, timeout=DEADLINE_S
    )
    return int(result.stdout)


async def until(condition: Callable[[], bool], deadline: float = DEADLINE_S) -> None:
    """Wait for something that a process of another parent does; TimeoutError after `deadline` seconds."""
    async with asyncio.timeout(deadline):
        while not condition():  # noqa: ASYNC110 - a file or a process tells nobody when it changes
            await asyncio.sleep(0.01)

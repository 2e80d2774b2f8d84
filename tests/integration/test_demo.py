"""``make demo``: the main job, end to end, checked by an independent probe. Its exit code is the verdict."""

import asyncio
import os
import signal
import sys

import pytest

pytestmark = pytest.mark.engines


async def test_the_demo_finds_everything_as_promised(tmp_path):
    folder = tmp_path / "a demo"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.demo", "--seconds", "12", "--folder", str(folder),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    try:
        async with asyncio.timeout(170):  # before the whole suite loses patience, so that it ends what it has started
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)  # it stops what it has started
            await process.wait()
    assert process.returncode == 0, output.decode()[-6000:]
    assert "✗" not in output.decode()
    assert list((folder / "bucket").rglob("*.mp4"))

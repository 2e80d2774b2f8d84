"""``aircheck record``: the engine alone, as a person at a terminal uses it."""

import asyncio
import sys

import av
import pytest

from tests.deadline import DEADLINE_S
from tests.studio import StudioProcess

pytestmark = pytest.mark.engines


async def run(*arguments, said=""):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "aircheck",
        "record",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(DEADLINE_S):
        output, _ = await process.communicate(said.encode())
    return process.returncode, output.decode()


@pytest.mark.parametrize("kind", ["flv", "ts", "fmp4"])
async def test_a_live_stream_becomes_a_file_that_plays(tmp_path, kind):
    async with StudioProcess() as studio:
        await studio.put_on_air("1")
        url = studio.flv_url("1") if kind == "flv" else studio.hls_url("1", kind)
        folder = tmp_path / "a new folder"
        options = ("-o", str(folder), "--duration", "3", "--allow-private")
        # an address may come where nobody else sees it
        code, output = await (run(url, *options) if kind == "flv" else run("-", *options, said=f"{url}\n"))
    assert code == 0, output
    (file,) = [path for path in folder.iterdir() if path.is_file()]
    with av.open(str(file)) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 30


async def test_a_private_address_is_refused_with_the_way_out(tmp_path):
    code, output = await run("http://127.0.0.1:9/x.flv", "-o", str(tmp_path / "none"))
    assert code == 1 and "--allow-private" in output
    assert not (tmp_path / "none").exists()

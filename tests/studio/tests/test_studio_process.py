"""The studio as a process: it says when it is ready, obeys like the one in process, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from deploy.embedded.process import wait_until_dead
from tests.deadline import DEADLINE_S
from tests.studio import StudioClient, StudioProcess

from .viewers import play

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def _encoders(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children(recursive=True) if "ffmpeg" in child.name()]


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def _survivors(processes: list[psutil.Process]) -> list[psutil.Process]:
    return wait_until_dead(processes, DEADLINE_S)


async def test_a_studio_in_a_process_obeys_like_the_one_in_process() -> None:
    async with StudioProcess() as studio:
        state = await studio.put_on_air("1001", "From afar", fps=10)
        assert (state["title"], state["options"]["fps"], state["on_air"]) == ("From afar", 10, True)
        assert (await play(studio.flv_url("1001"), frames=5)).frames >= 5
        assert (await studio.say("1001", "hi", user="ann"))["seq"] == 1
        assert (await studio.say_many("1001", [{"text": "a"}, {"text": "b"}]))[1]["seq"] == 3
        assert [one["text"] for one in await studio.chat_log("1001")] == ["hi", "a", "b"]
        assert (await studio.retitle("1001", category="Go"))["category"] == "Go"
        assert (await studio.fault("1001", "stall"))["affected"] == 0
        assert (await studio.room("1001"))["faults"] == [{"kind": "stall"}]
        await studio.clear_faults("1001", "stall")
        assert (await studio.wait_for_room("1001", viewers=0, on_air=True))["faults"] == []
        async with StudioClient(studio.url) as second:
            assert [one["id"] for one in await second.rooms()] == ["1001"]
        await studio.rotate_wbi_keys()
        await studio.fail_sink("hook", 1)
        await studio.clear_sink("hook")
        assert await studio.sink("hook") == []
        assert (await studio.put_off_air("1001"))["on_air"] is False
        await studio.remove_room("1001")
        with pytest.raises(KeyError):
            await studio.room("1001")
        with pytest.raises(ValueError, match="width"):
            await studio.create_room("1001", width=-1)
        with pytest.raises(TimeoutError, match="0 of 1"):
            await studio.wait_for_sink("hook", timeout=0.05)


async def test_leaving_the_block_ends_studio_encoders_and_files(tmp_path: Path) -> None:
    async with StudioProcess() as studio:
        await studio.put_on_air("1001")
        processes = [psutil.Process(studio.pid), *_encoders(studio.pid)]
        assert len(processes) == 2
        assert _files(tmp_path)
    assert await asyncio.to_thread(_survivors, processes) == []
    assert _files(tmp_path) == []


async def test_a_killed_studio_takes_its_encoders_along() -> None:
    async with StudioProcess() as studio:
        await studio.put_on_air("1001")
        await studio.put_on_air("1002", formats=["flv"])
        encoders = _encoders(studio.pid)
        assert len(encoders) == 2
        os.kill(studio.pid, signal.SIGKILL)
        assert await asyncio.to_thread(_survivors, encoders) == []


async def test_a_killed_starter_takes_the_studio_along() -> None:
    # given a studio that was started by another process
    starter = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import asyncio\n"
        "from tests.studio import StudioProcess\n"
        "async def main():\n"
        "    async with StudioProcess() as studio:\n"
        "        print(studio.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n",
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    studio = psutil.Process(int(await asyncio.wait_for(starter.stdout.readline(), DEADLINE_S)))
    # when that one is killed
    starter.kill()
    await starter.wait()
    # then the studio ends
    assert await asyncio.to_thread(_survivors, [studio]) == []


async def test_the_command_line_says_when_it_is_ready_and_obeys_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.studio", "--port", "0", "--json", "--on-air", "1001"),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), DEADLINE_S))
        assert ready["pid"] == process.pid
        async with StudioClient(ready["url"]) as studio:
            assert (await studio.room("1001"))["on_air"] is True
        encoders = _encoders(process.pid)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 0
        assert await asyncio.to_thread(_survivors, encoders) == []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_help_teaches() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.studio", "--help"), cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    text = (await process.communicate())[0].decode()
    assert process.returncode == 0
    for word in ("--port", "--json", "--demo", "on-air", "/faults", "README"):
        assert word in text

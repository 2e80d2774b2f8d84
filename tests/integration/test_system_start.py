"""``aircheck up`` as a user runs it: started, stopped, started again with all its data."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.deadline import DEADLINE_S
from tests.system import SystemProcess
from tests.system.process import READY_S

pytestmark = pytest.mark.engines


async def test_a_second_start_comes_back_with_all_its_data(tmp_path):
    folder = tmp_path / "a folder with spaces"
    system = SystemProcess(folder)
    async with system, system.gateway() as gateway:
        assert stat.S_IMODE(system.data.stat().st_mode) == 0o700
        added = await gateway.call(
            "POST", "/api/streamers", {"url": "https://example.com/live.flv", "name": "Ann", "enabled": False}
        )
        before = await gateway.call("GET", "/api/events", limit=200)
    assert await system.stop() == 0
    assert [one.name for one in system.data.glob("logs/*.log") if system.password in one.read_text()] == []
    again = SystemProcess(folder)
    async with again, again.gateway() as gateway:
        assert (await gateway.call("GET", f"/api/streamers/{added['id']}"))["name"] == "Ann"
        after = await gateway.call("GET", "/api/events", limit=200)
        assert [one["id"] for one in before["items"]] == [one["id"] for one in after["items"]][: len(before["items"])]


async def test_liveness_needs_no_token_and_everything_else_does(tmp_path):
    async with SystemProcess(tmp_path / "s", AIRCHECK_ADMIN_PASSWORD="correct horse battery") as system:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{system.url}/api/health/live") as response:
                assert response.status == 200
            for path in ("/api/streamers", "/api/events", "/api/config", "/api/dead-letters"):
                async with session.get(system.url + path) as response:
                    assert response.status == 401
                    assert response.content_type == "application/problem+json"
        async with system.gateway() as gateway:
            assert (await gateway.call("GET", "/api/streamers"))["items"] == []
        for process_folder in (f"/proc/{system.pid}/cmdline",):
            assert b"correct horse" not in _read(process_folder)


async def test_ctrl_c_leaves_no_process_behind(tmp_path):
    import psutil

    async with SystemProcess(tmp_path / "s") as system:
        family = psutil.Process(system.pid).children(recursive=True)
        assert len(family) >= 11
    _, alive = psutil.wait_procs(family, timeout=DEADLINE_S)
    assert alive == []


@pytest.mark.parametrize(
    ("data", "password", "said"),
    [("s", "short", "10 to 256 characters"), ("a file", "", "there is a file in its place")],
)
async def test_what_cannot_start_says_why_at_once(tmp_path, data, password, said):
    (tmp_path / "a file").write_text("")
    environment = {**os.environ, "AIRCHECK_DATA": str(tmp_path / data), "AIRCHECK_PORT": "0"}
    environment |= {"AIRCHECK_ADMIN_PASSWORD": password, "COLUMNS": "400"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aircheck", "up", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(READY_S):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode == 1
    assert "could not start" in out.decode() and said in out.decode()
    assert password == "" or password not in out.decode()


def _read(path: str) -> bytes:
    return Path(path).read_bytes() if Path(path).exists() else b""


async def test_the_first_password_is_forgotten_when_it_is_changed(tmp_path):
    async with SystemProcess(tmp_path / "s") as system, system.gateway() as gateway:
        first = system.password
        me = await gateway.call("GET", "/api/me")
        body = {"password": "another long password", "current_password": first}
        await gateway.call("PUT", f"/api/users/{me['user_id']}/password", body)
        assert not (system.data / "admin-password").exists()
        with pytest.raises(aiohttp.ClientResponseError, match="401"):
            await gateway.call("POST", "/api/login", {"username": "admin", "password": first})

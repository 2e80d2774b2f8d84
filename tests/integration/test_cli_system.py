"""The command line against a running system: add, list, stop, look back, build again, publish again."""

import asyncio
import json
import os
import sys

import pytest

from tests.deadline import DEADLINE_S
from tests.system import SystemProcess

pytestmark = pytest.mark.engines


class Terminal:
    """Runs ``aircheck`` as a person on the same machine would: only AIRCHECK_DATA tells it where the system is."""

    def __init__(self, system):
        names = ("AIRCHECK_TOKEN", "AIRCHECK_PASSWORD", "AIRCHECK_ADMIN_PASSWORD", "AIRCHECK_URL", "AIRCHECK_PORT")
        self.environment = {name: value for name, value in os.environ.items() if name not in names}
        self.environment |= {"AIRCHECK_DATA": str(system.data), "COLUMNS": "250"}

    async def __call__(self, *arguments, code=0):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "aircheck", *arguments, env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )  # fmt: skip
        async with asyncio.timeout(DEADLINE_S):
            output, _ = await process.communicate()
        assert process.returncode == code, output.decode()
        return output.decode()


async def test_a_day_at_the_command_line(tmp_path):
    async with SystemProcess(tmp_path / "s") as system:
        aircheck = Terminal(system)
        url = "https://example.com/live.flv"
        await aircheck("streamers", "add", url, "--name", "Ann")
        assert "another streamer has this address" in await aircheck("streamers", "add", url, code=1)
        assert "private" in await aircheck("streamers", "add", "http://127.0.0.1/x.flv", code=1)
        await aircheck("streamers", "stop", url)
        assert "stopped" in await aircheck("streamers", "list")
        await aircheck("streamers", "start", "Ann")
        assert "no streamers match" in await aircheck("streamers", "stop", "Nobody", code=1)

        added = next(
            json.loads(line)
            for line in (await aircheck("events", "list", "--service", "config", "--json")).splitlines()
        )
        assert added["type"] == "aircheck.config.streamer.added.v1"
        stream = f"streamer-{added['data']['streamer_id']}"
        assert "streamer.added" in await aircheck("events", "show", str(added["position"]))

        [newest, *_] = (await aircheck("events", "list", "--newest", "--limit", "1", "--json")).splitlines()
        assert json.loads(newest)["position"] > added["position"]
        story = (await aircheck("events", "story", str(added["position"]))).splitlines()
        assert added["correlationid"] in story[0]
        kinds = [line.split()[2] for line in story[2:]]
        assert kinds[:2] == ["config.streamer.added.v1", "config.streamer.resolved.v1"]
        [started] = [line.split() for line in story if "scheduler.watch.started" in line]
        assert started[-1] == str(added["position"] + 1), "the other service did it because the streamer was resolved"
        mine = await aircheck("events", "list", "--correlation", added["correlationid"], "--json")
        assert [json.loads(line)["position"] for line in mine.splitlines()] == [
            int(line.split()[0]) for line in story[2:]
        ]

        now = json.loads(await aircheck("replay", "state", stream, "--json"))["config"]
        then = json.loads(await aircheck("replay", "state", stream, "--at", str(added["position"]), "--json"))["config"]
        assert now["enabled"] and now["resolved"]["url"] == url
        assert then["resolved"] is None
        assert "enabled: true → false" in await aircheck("replay", "state", stream, "--diff")

        assert "streamers:" in await aircheck("replay", "rebuild", "all")
        assert "Ann" in await aircheck("streamers", "list")
        before = await aircheck("events", "list", "--stream", stream)
        assert "events put into its outbox again" in await aircheck("replay", "republish", "config")
        assert await aircheck("events", "list", "--stream", stream) == before
        assert "no dead letter is buried" in await aircheck("dead-letters", "list")
        assert "there is no dead letter" in await aircheck("dead-letters", "show", "0" * 32, code=1)
        assert "there are" in await aircheck("replay", "rebuild", "nothing", code=2)

"""Real packets that get lost: the studio in a network namespace of its own, behind a link that this test makes bad."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from contracts.values import EndReason

from services.downloader.adapters.engine import GapClosed, GapOpened
from tests.deadline import DEADLINE_S
from tests.integration.downloader_rig import play
from tests.integration.test_downloader_faults import FRAME_MS, missing_flv, recording
from tests.integration.witness import viewer
from tests.studio.client import StudioProcess

LOSS_PERCENT = 5
OUR_ADDRESS, STUDIO_ADDRESS = "10.213.77.1", "10.213.77.2"


class Link:
    """A pair of virtual interfaces, one end in a new namespace, where packets are dropped both ways.

    By netem where the kernel has it, else by the packet filter of the namespace, which drops every so manieth.
    """

    def __init__(self) -> None:
        self.namespace, self._near, self._far = f"aircheck{os.getpid()}", f"acn{os.getpid()}", f"acf{os.getpid()}"
        self._netem = False

    @property
    def inside(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.namespace)

    async def make(self) -> None:
        await _run("ip", "netns", "add", self.namespace)
        await _run("ip", "link", "add", self._near, "type", "veth", "peer", "name", self._far)
        await _run("ip", "link", "set", self._far, "netns", self.namespace)
        await _run("ip", "address", "add", f"{OUR_ADDRESS}/30", "dev", self._near)
        await _run("ip", "link", "set", self._near, "up")
        await _run(*self.inside, "ip", "address", "add", f"{STUDIO_ADDRESS}/30", "dev", self._far)
        await _run(*self.inside, "ip", "link", "set", self._far, "up")
        await _run(*self.inside, "ip", "link", "set", "lo", "up")

    async def lose(self, percent: int) -> None:
        """Drop so many packets of a hundred in each direction."""
        near = ("tc", "qdisc", "replace", "dev", self._near, "root", "netem", "loss", f"{percent}%")
        try:
            await _run(*near)
            await _run(*self.inside, *(self._far if one == self._near else one for one in near))
            self._netem = True
        except Refused:
            nth = ("-m", "statistic", "--mode", "nth", "--every", str(100 // percent), "--packet", "0")
            for chain in ("INPUT", "OUTPUT"):
                await self._filter("-F", chain)
                await self._filter("-A", chain, *(nth if percent < 100 else ()), "-j", "DROP")

    async def dropped(self) -> int:
        """Packets dropped under way to us since the last change."""
        if self._netem:
            words = (await _run(*self.inside, "tc", "-s", "qdisc", "show", "dev", self._far)).replace(",", " ").split()
            return int(words[words.index("(dropped") + 1])
        lines = (await self._filter("-nvxL", "OUTPUT")).splitlines()
        return int(next(line.split()[0] for line in lines if "DROP" in line and "Chain" not in line))

    async def remove(self) -> None:
        for command in (("ip", "link", "del", self._near), ("ip", "netns", "del", self.namespace)):
            try:
                await _run(*command)
            except Refused:
                continue  # it was never made

    async def _filter(self, *arguments: str) -> str:
        return await _run(*self.inside, "iptables", "-w", *arguments)


class Refused(Exception):
    """A tool said no."""


async def _run(*command: str) -> str:
    try:
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=20)
    except OSError as error:
        raise Refused(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise Refused(f"{' '.join(command)}: {done.stderr.strip()[:200]}")
    return done.stdout


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    if shutil.which("ip") is None:
        pytest.skip("iproute2 is not installed")
    made = Link()
    try:
        try:
            await made.make()
            await made.lose(LOSS_PERCENT)
        except Refused as refused:
            pytest.skip(f"no network namespace, or nothing that loses packets in it: {refused}")
        yield made
    finally:
        await made.remove()


async def test_lost_packets_cost_nothing_and_a_line_that_loses_all_is_a_gap(tmp_path: Path, link: Link) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        StudioProcess("--host", STUDIO_ADDRESS, within=link.inside) as studio,
    ):
        await studio.put_on_air("1", formats=["flv"])
        url = studio.flv_url("1")
        async with viewer(url) as seen, recording(url, tmp_path, 2.0, 0) as take:
            # given a link that loses packets
            await take.media(2000)
            assert await link.dropped() > 0
            assert take.opened == [], "TCP sends them again"
            # when it loses all of them without a word, until the recorder has given the connection up
            await link.lose(100)
            await take.until(lambda: bool(take.opened))
            await link.lose(LOSS_PERCENT)
            # then the recording goes on by itself
            await take.until(lambda: bool(take.closed))
            await take.media(1500)
    assert take.recorded is not None
    assert take.recorded.reason is EndReason.STOPPED
    assert [one.index for one in take.recorded.segments] == [0]
    gaps = [type(one) for one in take.told if isinstance(one, GapOpened | GapClosed)]
    assert gaps == [GapOpened, GapClosed] * (len(gaps) // 2)
    assert take.opened[0].cause == "no data in time"
    assert missing_flv(take, seen) == pytest.approx(take.lost_ms, abs=FRAME_MS * (1 + len(take.closed)))
    assert play(take.files[0]).frames

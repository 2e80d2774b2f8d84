"""A credential at work: written through config, it opens what members see to the monitor and joins the chat as a member."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from chassis import bus
from chassis.accounts import Accounts, AccountUnavailable
from chassis.ids import new_id
from chassis.secrets import SystemKey, new_system_key
from chassis.service import Service
from chassis.telemetry import new_metadata
from contracts import subjects
from contracts.config import RemoveCredential, SaveCredential, Secrets
from contracts.danmu import ChatReconnected
from contracts.envelope import wrap
from contracts.message import Command
from contracts.monitor import CheckChannel, SourcesResolved
from contracts.values import Effective, Network

from services.config.app import build as build_config
from services.config.settings import ConfigSettings
from services.danmu.app import build as build_danmu
from services.danmu.settings import DanmuSettings
from services.monitor.app import build as build_monitor
from services.monitor.settings import MonitorSettings
from tests.deadline import DEADLINE_S
from tests.integration.danmu_rig import ROOM, outside
from tests.studio import Studio

pytestmark = pytest.mark.engines

COOKIE = "c00kie-s3cret"
KEY = new_system_key()
SECRETS = Secrets(cookies={"SESSDATA": COOKIE})
MINE = Network(account="mine")


def holding(folder: Path, secret: str) -> list[Path]:
    """The files in which a text is."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@asynccontextmanager
async def running(*services: Service) -> AsyncIterator[None]:
    try:
        for service in services:
            await service.start()
        yield
    finally:
        for service in services:
            await service.stop()


async def send(sender: bus.Bus, command: Command) -> None:
    envelope = wrap(command, id=new_id(), metadata=new_metadata(), source="gateway")
    await sender.publish(subjects.of(command), envelope.data, envelope.to_headers())


async def test_what_a_credential_opens_and_what_its_removal_closes(
    nats_url: str,
    make_database: Callable[[], str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    common: dict[str, Any] = {"nats_url": nats_url, "secret_key": KEY, "allow_private_sources": True}
    told: list[SourcesResolved] = []
    heard = asyncio.Event()

    async def hear(_: str, signal: Any) -> None:
        told.append(signal)
        heard.set()

    async with outside(nats_url) as world, Studio() as studio:
        await studio.put_on_air(ROOM, qualities=[20000, 10000], login_qualities=[20000])
        address = studio.url.removeprefix("http://")
        platforms = {"bilibili": {"api": studio.url, "nav": studio.url, "pages": f"{address}/bili"}}
        sources = {"bilibili": {"live_api": studio.url, "main_api": studio.url}}
        config = build_config(ConfigSettings(database_dsn=make_database(), **common))
        monitor = build_monitor(
            MonitorSettings(database_dsn=make_database(), platforms=platforms, probe_timeout_s=DEADLINE_S, **common)
        )
        danmu = build_danmu(
            DanmuSettings(database_dsn=make_database(), data_dir=tmp_path, sources=sources, successor_s=0, **common)
        )
        async with running(config, monitor, danmu):
            sender = await bus.connect(nats_url, "scheduler")

            async def qualities(network: Network) -> set[str]:
                heard.clear()
                url = f"{studio.url}/bili/{ROOM}"
                check = CheckChannel(streamer_id="ann", url=url, name="Ann", offline_grace_s=0, network=network)
                await sender.send_direct(check)
                async with asyncio.timeout(DEADLINE_S):
                    await heard.wait()
                return {source.quality for source in told[-1].sources}

            try:
                await sender.listen(subjects.signal(SourcesResolved, "ann"), hear)
                sealed = SystemKey(KEY).seal(SECRETS.model_dump_json())
                await send(
                    sender, SaveCredential(credential_id="mine", name="Mine", domains=("127.0.0.1",), sealed=sealed)
                )
                asking = Accounts(sender, KEY, setting="")
                async with asyncio.timeout(DEADLINE_S):
                    while not await _is_known(asking):
                        pass

                # the monitor sees what members see
                assert await qualities(Network()) == {"原画"}
                assert await qualities(MINE) == {"4K"}

                # the chat is joined as a member, and after the credential is gone as a visitor
                await world.plan(effective=Effective(network=MINE))
                await studio.wait_for_room(ROOM, chatters=1)
                assert (await studio.room(ROOM))["members"] == 1
                await send(sender, RemoveCredential(credential_id="mine"))
                async with asyncio.timeout(DEADLINE_S):
                    while await _is_known(asking):
                        pass
                await studio.fault(ROOM, "chat_drop")
                await world.wait(ChatReconnected)
                await studio.wait_for_room(ROOM, chatters=1)
                assert (await studio.room(ROOM))["members"] == 0
            finally:
                await sender.close()
        said = "".join([*capfd.readouterr(), repr(told), repr(world.events)])
    assert "chat.account_unavailable" in said, "the log was looked at"
    assert COOKIE not in said
    assert not holding(tmp_path, COOKIE)


async def _is_known(accounts: Accounts) -> bool:
    try:
        return bool((await accounts.login("mine")).cookies)
    except AccountUnavailable:
        return False

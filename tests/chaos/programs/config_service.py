"""A service of the chassis as a process of its own, to be killed: ``python -m tests.chaos.programs.config_service MODE``.

It is shaped like the config service and takes its settings from ``CONFIG_…``. ``add_streamer`` appends two events. Modes:

``plain``       as it is
``held-relay``  the relay holds its first batch for ever, having the lock
``slow``        handlers wait until the file ``HOLD`` names is gone
``closing``     a handler closes the connection to the bus
``killed``      a command named ``killer`` ends the process as long as the file ``POISON`` names is there
``leases``      ``add_streamer`` offers work; whoever claims it appends one event under the lease and holds it
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import structlog
from chassis import relay
from chassis.bus import Bus
from chassis.handlers import Handlers
from chassis.leases import Again, Lease, Outcome
from chassis.service import Service, main
from chassis.settings import ServiceSettings, load
from chassis.work import Work
from contracts.config import AddStreamer
from pydantic_settings import SettingsConfigDict

from tests.integration.harness import STREAMER, append_name, handlers_of, streamer_added, streamer_changed

log = structlog.get_logger(__name__)


class ConfigSettings(ServiceSettings):
    """As those of the real service."""

    model_config = SettingsConfigDict(env_prefix="CONFIG_", extra="ignore")
    service: str = "config"


async def append_two(command: AddStreamer, work: Work) -> None:
    at = await work.load(STREAMER, command.streamer_id)
    await work.append(
        at,
        [
            streamer_added(command.streamer_id, f"{command.name}/1"),
            streamer_changed(command.streamer_id, f"{command.name}/2"),
        ],
    )


async def append_when_let(command: AddStreamer, work: Work) -> None:
    log.info("in_hand", name=command.name)
    while Path(os.environ["HOLD"]).exists():  # noqa: ASYNC110, ASYNC240  (the only thing two processes share)
        await asyncio.sleep(0.02)
    await append_two(command, work)
    log.info("let_go", name=command.name)


async def die_of_a_killer(command: AddStreamer, work: Work) -> None:
    await append_two(command, work)
    if command.name == "killer" and Path(os.environ["POISON"]).exists():  # noqa: ASYNC240
        os.kill(os.getpid(), signal.SIGKILL)


async def close_the_bus(command: AddStreamer, work: Work) -> None:
    await work.resource(Bus).client.close()


async def offer_work(command: AddStreamer, work: Work) -> None:
    await work.offer("work", f"work:{command.streamer_id}")


async def hold(*_: object, **__: object) -> int:
    log.info("relay_holds")
    await asyncio.Event().wait()
    return 0


def build_of(mode: str) -> Service:
    handler = {
        "slow": append_when_let,
        "closing": close_the_bus,
        "killed": die_of_a_killer,
        "leases": offer_work,
        "names": append_name,
    }.get(mode, append_two)
    handlers: Handlers = handlers_of("config", {AddStreamer: handler})
    service = Service(load(ConfigSettings), handlers)
    if mode == "held-relay":
        relay.publish_atomic = relay.publish_one_by_one = hold
    if mode == "leases":
        service.on_start(lambda: _with_runner(service))
    return service


async def _with_runner(service: Service) -> None:
    async def run(lease: Lease) -> Outcome:
        async with service.unit(fence=lease.fence) as work:
            at = await work.load(STREAMER, lease.id)
            await work.append(at, [streamer_changed(lease.id, f"{service.settings.worker}:{lease.epoch}")])
        log.info("work_begun", lease=lease.name)
        await lease.handing_over.wait()
        return Again()

    service.add_runner("work", run)


if __name__ == "__main__":
    chosen = sys.argv.pop(1)
    main(lambda: build_of(chosen))

"""Rule 9: connections reconnect for ever. (A closed client ends the process: see the chaos tests, with a real process.)"""

from __future__ import annotations

import asyncio

import pytest
from chassis.bus import Bus, connect, connection_options
from chassis.service import EXIT_BUS_CLOSED, Service
from contracts.config import AddStreamer
from contracts.monitor import SourcesResolved
from nats.errors import Error as NatsError

from tests.deadline import DEADLINE_S
from tests.engines.handles import Engines
from tests.integration.harness import (
    add_streamer,
    append_name,
    eventually,
    handlers_of,
    healthy,
    names,
    running,
    settings,
    wire,
    within,
)

pytestmark = pytest.mark.engines


def service_of(postgres_dsn: str, nats_url: str, **overrides) -> Service:
    return Service(
        settings("config", postgres_dsn, nats_url, **overrides), handlers_of("config", {AddStreamer: append_name})
    )


def test_no_client_ever_gives_up_reconnecting() -> None:
    options = connection_options("nats://a:1,nats://b:2", "config")
    assert options["max_reconnect_attempts"] == -1
    assert options["allow_reconnect"] is True
    assert options["servers"] == ["nats://a:1", "nats://b:2"]
    assert options["inbox_prefix"] == "_INBOX_config"


@pytest.mark.chaos
async def test_consumers_go_on_after_the_bus_was_killed_and_restarted(
    engines: Engines, nats_url: str, postgres_dsn: str
) -> None:
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url)) as service:
        await on.send(add_streamer(name="before"))
        await on.holds(1)
        await asyncio.to_thread(engines.nats.kill)

        async def not_ready() -> bool:
            return "bus" in await service.health.failures()

        await eventually(not_ready, "readiness reports the bus")
        await asyncio.to_thread(engines.nats.restart)

        await healthy(service)
        await on.send(add_streamer(name="after"))
        await on.holds(2)
        assert names(await on.events()) == ["before", "after"]


@pytest.mark.chaos
async def test_a_service_stops_in_order_while_the_bus_is_down(
    engines: Engines, nats_url: str, postgres_dsn: str
) -> None:
    async with wire(nats_url):
        service = service_of(postgres_dsn, nats_url, stop_timeout_s=1)
        await service.start()
        await asyncio.to_thread(engines.nats.kill)
        async with asyncio.timeout(DEADLINE_S):
            await service.stop()
        assert service.bus.client.is_closed
        assert service._exit_code == 0


@pytest.mark.chaos
async def test_a_service_waits_for_a_bus_that_comes_up_after_it(
    engines: Engines, nats_url: str, postgres_dsn: str
) -> None:
    async with wire(nats_url):
        await asyncio.to_thread(engines.nats.stop)
        service = service_of(postgres_dsn, nats_url)
        starting = asyncio.create_task(service.start())
        await asyncio.to_thread(engines.nats.start)
        async with asyncio.timeout(DEADLINE_S):
            await starting
        await healthy(service)
        await service.stop()


async def test_a_client_that_closes_ends_the_service_with_a_code_of_its_own(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url), running(service_of(postgres_dsn, nats_url)) as service:
        await service.bus.client.close()
        await within(service._ended)
        assert service._exit_code == EXIT_BUS_CLOSED


async def test_connecting_gives_up_in_time_when_asked_to() -> None:
    with pytest.raises(TimeoutError):
        await connect("nats://127.0.0.1:9", "config", wait_s=0.3)


async def test_signals_are_lost_and_not_waited_for_while_the_bus_is_away(nats_url: str) -> None:
    async with wire(nats_url) as on:
        bus = Bus(on.client, "monitor")
        signal = SourcesResolved.model_construct(streamer_id="s1")
        assert await bus.last_signal(SourcesResolved, "s1") is None
        await on.client.close()
        await bus.signal(signal)
        with pytest.raises(NatsError):
            await bus.ping()

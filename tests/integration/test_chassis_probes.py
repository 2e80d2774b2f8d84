"""The probes over HTTP, the metrics, and what a service refuses to start with."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from chassis.broker import NotProvisioned
from chassis.handlers import Handlers
from chassis.service import Service
from contracts.config import AddStreamer

from tests.engines.handles import Engines
from tests.integration.harness import (
    add_streamer,
    append_name,
    eventually,
    handlers_of,
    healthy,
    running,
    settings,
    wire,
)

pytestmark = pytest.mark.engines


async def get(service: Service, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{service.health.port}{path}") as answer,
    ):
        return answer.status, await answer.text()


def service_of(postgres_dsn: str, nats_url: str, **overrides) -> Service:
    return Service(
        settings("config", postgres_dsn, nats_url, **overrides), handlers_of("config", {AddStreamer: append_name})
    )


async def test_a_running_service_is_alive_ready_and_counts(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url)) as service:
        assert (await get(service, "/livez"))[0] == 200
        await healthy(service)
        status, body = await get(service, "/readyz?verbose")
        assert status == 200, body
        assert '"checks": ["bus", "database", "migrations"]' in body
        await on.send(add_streamer())
        await on.holds(1)
        await on.settled("config")
        # The stream has it before the relay knows.
        await eventually(lambda: service.pool.fetchval("select not exists (select from outbox)"), "an empty outbox")
        status, body = await get(service, "/metrics")
        assert status == 200
        for line in (
            'aircheck_deliveries_total{consumer="commands-config",outcome="handled",service="config"}',
            'aircheck_process_seconds_count{template="cmd.config.add_streamer.v1"}',
            'aircheck_relay_messages_total{service="config"}',
            'aircheck_outbox_pending{service="config"} 0.0',
        ):
            assert line in body
        assert (await get(service, "/elsewhere"))[0] == 404


async def test_the_probes_can_be_asked_for_and_for_nothing_else(nats_url: str, postgres_dsn: str) -> None:
    async with (
        wire(nats_url),
        running(service_of(postgres_dsn, nats_url)) as service,
        aiohttp.ClientSession(f"http://127.0.0.1:{service.health.port}") as session,
    ):
        async with session.head("/livez") as answer:
            assert (answer.status, await answer.read()) == (200, b"")
        async with session.post("/livez", data=b"x") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


async def test_metrics_label_subjects_by_template_and_never_by_id(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url)) as service:
        for number in range(5):
            await on.send(add_streamer(f"very-special-{number}"))
        await on.holds(5)
        _, body = await get(service, "/metrics")
        assert "very-special" not in body


@pytest.mark.chaos
async def test_an_outage_takes_readiness_away_and_leaves_liveness_and_metrics(
    engines: Engines, nats_url: str, postgres_dsn: str
) -> None:
    async with wire(nats_url), running(service_of(postgres_dsn, nats_url, stop_timeout_s=1)) as service:
        await asyncio.to_thread(engines.postgres.kill)
        status, body = await get(service, "/readyz")
        assert status == 503
        assert '"database"' in body
        assert '"bus"' not in body.split('"checks"')[0]
        assert (await get(service, "/livez"))[0] == 200
        status, body = await get(service, "/metrics")
        assert status == 200
        assert "aircheck_event_loop_lag_seconds" in body
        await asyncio.to_thread(engines.postgres.restart)

        async def ready() -> bool:
            return (await get(service, "/readyz"))[0] == 200

        await eventually(ready)


async def test_a_blocked_event_loop_is_not_alive(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url), running(service_of(postgres_dsn, nats_url)) as service:
        service.health._pulse.cancel()
        service.health._beat -= 60
        assert (await get(service, "/livez"))[0] == 503


async def test_a_service_without_a_handler_for_what_it_owns_does_not_start(nats_url: str, postgres_dsn: str) -> None:
    handlers = Handlers("scheduler")
    service = Service(settings("scheduler", postgres_dsn, nats_url), handlers)
    with pytest.raises(RuntimeError, match="StreamerResolved"):
        await service.start()
    await service.stop()


async def test_a_service_whose_consumer_nobody_provisioned_does_not_start_and_declares_nothing(
    nats_url: str, postgres_dsn: str
) -> None:
    async with wire(nats_url) as on:
        await on.js.delete_consumer("COMMANDS", "config")
        service = service_of(postgres_dsn, nats_url)
        with pytest.raises(NotProvisioned, match="COMMANDS/config"):
            await service.start()
        await service.stop()
        info = await on.js.consumers_info("COMMANDS")
        assert "config" not in {one.name for one in info}

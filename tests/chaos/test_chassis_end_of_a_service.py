"""How a real process ends: in order on SIGTERM, with a code of its own when the bus connection is gone for good."""

from __future__ import annotations

import signal
from pathlib import Path

import aiohttp
import pytest
from chassis.service import EXIT_BUS_CLOSED

from tests.chaos.processes import environment, program
from tests.engines.handles import Engines
from tests.integration.harness import add_streamer, connection, eventually, names, wire

pytestmark = [pytest.mark.engines, pytest.mark.chaos]


async def status(port: int, path: str) -> int:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status
    except aiohttp.ClientError:
        return 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_service_finishes_what_it_has_in_hand_and_flushes_before_it_ends(
    nats_url: str, postgres_dsn: str, tmp_path: Path, how: signal.Signals
) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    async with wire(nats_url) as on, program("slow", HOLD=str(hold), **environment(postgres_dsn, nats_url)) as service:
        port = (await service.said("service.ready"))["health_port"]
        assert await status(port, "/readyz") == 200
        await on.send(add_streamer("s1", "in hand"))
        await service.said("in_hand")
        # when
        service.process.send_signal(how)
        await service.said("service.stopping")
        # then it is alive but takes no more traffic, while the message in hand is not finished
        assert await status(port, "/readyz") == 503
        assert await status(port, "/livez") == 200
        late = await on.send(add_streamer("s2", "too late"))
        hold.unlink()
        assert await service.ended() == 0
        events = service.events()
        assert events.index("service.stopping") < events.index("let_go") < events.index("service.stopped")
        # and what it committed was published, acknowledged, and nothing else was begun
        assert names(await on.events()) == ["in hand/1", "in hand/2"]
        info = await on.js.consumer_info("COMMANDS", "config")
        assert info.ack_floor.stream_seq == 1
        [left] = await on.messages("COMMANDS")
        assert left.headers["ce-id"] == str(late.id)
        async with connection(postgres_dsn) as database:
            assert await database.fetchval("select count(*) from outbox") == 0
            # no session of the dead process is left behind
            await eventually(
                lambda: database.fetchval(
                    "select count(*) = 0 from pg_stat_activity where application_name = 'aircheck-config'"
                )
            )


async def test_a_closed_bus_connection_ends_the_process_with_its_code(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url) as on, program("closing", **environment(postgres_dsn, nats_url)) as service:
        await on.send(add_streamer("s1"))
        assert await service.ended() == EXIT_BUS_CLOSED == 70
        assert "bus.closed" in service.events()
        assert "service.stopped" in service.events(), service.story()


async def test_sigterm_while_bus_and_database_are_down_ends_the_process_too(
    engines: Engines, nats_url: str, postgres_dsn: str
) -> None:
    import asyncio

    async with (
        wire(nats_url),
        program("plain", **environment(postgres_dsn, nats_url, CONFIG_STOP_TIMEOUT_S="2")) as service,
    ):
        await asyncio.to_thread(engines.nats.kill)
        await asyncio.to_thread(engines.postgres.kill)
        service.terminate()
        assert await service.ended(60) == 0


async def test_a_service_that_cannot_start_ends_with_an_error(nats_url: str, postgres_dsn: str) -> None:
    wrong = postgres_dsn.replace("aircheck_test:", "aircheck_test:wrong")
    async with wire(nats_url), program("plain", ready=False, **environment(wrong, nats_url)) as service:
        assert await service.ended(60) == 1
        assert wrong.split(":")[2].split("@")[0] not in service.story(), "the password is not shown"

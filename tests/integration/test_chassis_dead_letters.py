"""Dead letters: listed by their events, replayed after a fix, dropped; each by a command that answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chassis.errors import Poison
from chassis.ids import new_id, new_key
from chassis.service import Service
from chassis.telemetry import new_metadata
from contracts import system
from contracts.aggregate import Rejected
from contracts.config import AddStreamer
from contracts.envelope import wrap

from tests.integration.harness import (
    Wire,
    add_streamer,
    append_name,
    handlers_of,
    running,
    settings,
    wire,
)

pytestmark = pytest.mark.engines
REPLAY = system.of("config", system.ReplayDeadLetter)
DROP = system.of("config", system.DropDeadLetter)


class Fixable:
    """A handler that fails until somebody repairs it."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure: BaseException | None = failure or Poison("broken")

    async def __call__(self, command: AddStreamer, work: Any) -> None:
        if self.failure:
            raise self.failure
        await append_name(command, work)


def service_of(postgres_dsn: str, nats_url: str, handler: Any) -> Service:
    return Service(settings("config", postgres_dsn, nats_url), handlers_of("config", {AddStreamer: handler}))


async def buried(on: Wire, number: int = 1) -> str:
    last = (await on.holds(number))[-1]
    assert last.headers["ce-type"] == "aircheck.config.dead_letter.buried.v1"
    return json.loads(last.data)["letter_id"]


async def test_a_letter_is_replayed_after_a_fix(nats_url: str, postgres_dsn: str) -> None:
    handler = Fixable()
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, handler)) as service:
        sent = await on.send(add_streamer(name="second chance"))
        letter = await buried(on)
        # when
        handler.failure = None
        request = await on.send(REPLAY(letter_id=letter))
        _, effect, replayed = await on.holds(3)
        # then the effect is caused by the message, its end by the request
        assert json.loads(effect.data)["name"] == "second chance"
        assert effect.headers["ce-causationid"] == str(sent.id)
        assert effect.headers["ce-correlationid"] == str(sent.metadata.correlation_id)
        assert replayed.headers["ce-type"] == "aircheck.config.dead_letter.replayed.v1"
        assert replayed.headers["ce-causationid"] == str(request.id)
        assert await service.pool.fetchval("select count(*) from dead_letters") == 0
        # and the message itself is done: it has no effect if it comes once more
        await on.send(add_streamer(name="second chance"), id=sent.id, fresh=True)
        await on.settled("config")
        assert await on.count() == 3


@pytest.mark.parametrize(
    "failure",
    [Poison("still broken"), RuntimeError("still broken"), Rejected("still broken")],
    ids=["poison", "error", "rejected"],
)
async def test_a_replay_that_fails_again_is_answered_and_keeps_the_letter(
    nats_url: str, postgres_dsn: str, failure
) -> None:
    handler = Fixable()
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, handler)) as service:
        await on.send(add_streamer())
        letter = await buried(on)
        handler.failure = failure
        request = await on.send(REPLAY(letter_id=letter))
        answer = (await on.holds(2))[1]
        assert answer.headers["ce-type"] == "aircheck.config.command.rejected.v1"
        assert answer.headers["ce-causationid"] == str(request.id)
        assert "still broken" in answer.data.decode()
        await on.settled("config")
        assert await service.pool.fetchval("select array_agg(letter_id) from dead_letters") == [letter]


async def test_a_letter_that_never_was_a_message_cannot_be_replayed_but_dropped(
    nats_url: str, postgres_dsn: str
) -> None:
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, append_name)) as service:
        await on.raw("cmd.config.add_streamer.v1", b"rubbish")
        letter = await buried(on)
        await on.send(REPLAY(letter_id=letter))
        assert (await on.holds(2))[1].headers["ce-type"] == "aircheck.config.command.rejected.v1"
        await on.send(DROP(letter_id=letter))
        assert (await on.holds(3))[2].headers["ce-type"] == "aircheck.config.dead_letter.dropped.v1"
        assert await service.pool.fetchval("select count(*) from dead_letters") == 0


async def test_a_type_that_this_release_learned_to_read_can_be_replayed(
    nats_url: str, postgres_dsn: str, monkeypatch
) -> None:
    from contracts.registry import REGISTRY

    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, append_name)):
        envelope = wrap(add_streamer(name="from the future"), id=new_id(), metadata=new_metadata(), source="x")
        headers = envelope.to_headers() | {"ce-type": "aircheck.config.add_streamer.v2"}
        await on.raw("cmd.config.add_streamer.v2", envelope.data, headers)
        letter = await buried(on)
        monkeypatch.setitem(
            REGISTRY._upcasters, "config.add_streamer.v2", ("config.add_streamer.v1", lambda data: data)
        )
        await on.send(REPLAY(letter_id=letter))
        assert json.loads((await on.holds(3))[1].data)["name"] == "from the future"


async def test_a_letter_is_dropped_once(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, Fixable())) as service:
        await on.send(add_streamer())
        letter = await buried(on)
        await on.send(DROP(letter_id=letter))
        await on.send(DROP(letter_id=letter))
        await on.send(REPLAY(letter_id=letter))
        types = [one.headers["ce-type"].removeprefix("aircheck.config.") for one in (await on.holds(4))[1:]]
        assert types == ["dead_letter.dropped.v1", "command.rejected.v1", "command.rejected.v1"]
        assert await service.pool.fetchval("select count(*) from dead_letters") == 0
        assert [json.loads(one.data)["problem"]["status"] for one in (await on.messages())[2:]] == [404, 404]


async def test_letters_are_listed_by_their_events(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, Fixable())) as service:
        for number in range(3):
            await on.send(add_streamer(f"s{number}"))
        told = [json.loads(one.data)["letter_id"] for one in await on.holds(3)]
        kept = await service.pool.fetch("select letter_id from dead_letters")
        assert sorted(told) == sorted(row["letter_id"] for row in kept)
        assert len(await on.holds(3, "DLQ")) == 3
        assert await on.send(REPLAY(letter_id=new_key())) is not None
        assert b"Unknown dead letter" in (await on.holds(4))[3].data

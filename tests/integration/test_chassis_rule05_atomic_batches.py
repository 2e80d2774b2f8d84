"""Rule 5: the relay publishes atomic batches, all or nothing; without that capability one message at a time. Always acknowledged by a stream."""

from __future__ import annotations

import asyncio
import json

import pytest
from chassis import provision
from chassis.bus import Bus
from chassis.eventlog import append, enqueue, load
from chassis.relay import BatchRejected, Outgoing, PublishFailed, Relay, publish_atomic, publish_one_by_one
from chassis.telemetry import new_metadata
from contracts.streams import STREAMS
from nats.js import api
from nats.js.errors import NoStreamResponseError

from tests.deadline import DEADLINE_S
from tests.integration.harness import (
    STREAMER,
    add_streamer,
    client,
    database,
    eventually,
    names,
    streamer_changed,
    wire,
    within,
)

pytestmark = pytest.mark.engines


def outgoing(number: int, *, id: str = "", subject: str = "evt.config.streamer.s1.changed.v1") -> Outgoing:
    return Outgoing(number, subject, json.dumps({"Nats-Msg-Id": id or f"id-{number}"}), b"%d" % number)


async def test_a_batch_arrives_as_a_whole_and_in_order(nats_url: str) -> None:
    async with wire(nats_url) as on:
        await publish_atomic(Bus(on.client, "config"), [outgoing(n) for n in range(1000)])
        assert [one.data for one in await on.messages()] == [b"%d" % n for n in range(1000)]


async def test_nothing_of_a_refused_batch_is_stored(nats_url: str) -> None:
    async with wire(nats_url) as on:
        bus = Bus(on.client, "config")
        await publish_one_by_one(bus, [outgoing(7)])
        with pytest.raises(BatchRejected) as refusal:
            await publish_atomic(bus, [outgoing(6), outgoing(7), outgoing(8)])
        assert refusal.value.code == 10201
        assert await on.count() == 1


async def test_a_batch_whose_end_never_comes_leaves_nothing(nats_url: str) -> None:
    async with wire(nats_url) as on:
        headers = {"Nats-Batch-Id": "b1", "Nats-Batch-Sequence": "1"}
        await on.client.request("evt.config.streamer.s1.changed.v1", b"1", headers=headers, timeout=DEADLINE_S)
        await on.client.publish(
            "evt.config.streamer.s1.changed.v1", b"2", headers={**headers, "Nats-Batch-Sequence": "2"}
        )
        await on.client.flush()
        assert await on.count() == 0


async def test_an_outbox_with_a_message_the_bus_knows_already_still_drains_in_order(
    nats_url: str, postgres_dsn: str
) -> None:
    """As after a crash between publish and delete: the repeat is acknowledged and not stored twice."""
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        async with pool.acquire() as one:
            at = await load(one, STREAMER, "s1")
            envelopes = await append(
                one, "config", at, [streamer_changed(name=n) for n in "abcd"], metadata=new_metadata()
            )
        for envelope in envelopes[:2]:
            await on.raw("evt.config.streamer.s1.changed.v1", envelope.data, envelope.to_headers())
        relay = Relay(pool, Bus(on.client, "config"), "config")
        await relay.start()
        await eventually(lambda: pool.fetchval("select not exists (select from outbox)"))
        await relay.stop()
        assert names(await on.events()) == ["a", "b", "c", "d"]


async def test_a_stream_without_batches_gets_one_message_at_a_time(nats_url: str, postgres_dsn: str) -> None:
    async with client(nats_url) as plain, database(postgres_dsn) as pool:
        await plain.jetstream(timeout=DEADLINE_S).add_stream(name="EVENTS", subjects=["evt.>"])
        async with pool.acquire() as one:
            at = await load(one, STREAMER, "s1")
            await append(one, "config", at, [streamer_changed(name=n) for n in "abcd"], metadata=new_metadata())
        bus = Bus(plain, "config")
        with pytest.raises(BatchRejected) as refusal:
            await publish_atomic(bus, [outgoing(1), outgoing(2)])
        assert refusal.value.code == 10174
        relay = Relay(pool, bus, "config")
        await relay.start()
        await eventually(lambda: pool.fetchval("select not exists (select from outbox)"))
        await relay.stop()
        messages = [await plain.jetstream(timeout=DEADLINE_S).get_msg("EVENTS", n) for n in (1, 2, 3, 4)]
        assert [b'"name":"%s"' % n in m.data for n, m in zip([b"a", b"b", b"c", b"d"], messages, strict=True)] == [
            True
        ] * 4


class _OldServer:
    """A connection to a server that ignores the batch headers: it stores and acknowledges each message by itself."""

    def __init__(self, replies: list[bytes]) -> None:
        self.replies = replies
        self.is_connected, self.is_draining_pubs, self.max_payload, self._flush_queue = True, False, 1 << 20, None

    async def request(self, *_: object, **__: object) -> object:
        return type("Reply", (), {"data": self.replies.pop(0)})()

    async def _send_command(self, _: bytes) -> None: ...


@pytest.mark.parametrize(
    "replies",
    [
        [b'{"stream":"EVENTS","seq":1}', b'{"stream":"EVENTS","seq":3}'],
        [b"", b'{"stream":"EVENTS","seq":3}'],
        [b"", b'{"stream":"EVENTS","seq":3,"batch":"x","count":2}'],
    ],
    ids=["acknowledges the first", "does not name the batch", "lost one"],
)
async def test_an_acknowledgement_that_does_not_vouch_for_the_whole_batch_does_not_count(replies: list[bytes]) -> None:
    bus = type("OldBus", (), {"client": _OldServer(replies)})()
    with pytest.raises(BatchRejected) as refusal:
        await publish_atomic(bus, [outgoing(1), outgoing(2), outgoing(3)])
    assert refusal.value.code == 10174


async def test_a_publish_that_no_stream_captures_fails(nats_url: str) -> None:
    async with wire(nats_url) as on:
        bus = Bus(on.client, "config")
        with pytest.raises(KeyError):
            await bus.publish("nowhere.x", b"", {})
        await on.js.delete_stream("EVENTS")
        with pytest.raises(NoStreamResponseError):
            await bus.publish("evt.config.x", b"", {})
        assert await publish_one_by_one(bus, [outgoing(1)]) == 0
        with pytest.raises(PublishFailed):
            await publish_atomic(bus, [outgoing(1), outgoing(2)])


async def test_the_headers_of_the_caller_stay_as_they_are(nats_url: str) -> None:
    """The client writes the expected stream into the dictionary it gets; a row that is sent again must not carry that."""
    async with wire(nats_url) as on:
        headers = {"Nats-Msg-Id": "x"}
        await Bus(on.client, "config").publish("evt.config.streamer.s1.changed.v1", b"1", headers)
        assert headers == {"Nats-Msg-Id": "x"}
        theirs = {"Nats-Msg-Id": "y"}
        await on.js.publish("evt.config.streamer.s1.changed.v1", b"2", stream="EVENTS", headers=theirs)
        assert theirs != {"Nats-Msg-Id": "y"}, "the client does not do that any more: the copy can go"


async def test_batches_are_cut_where_the_stream_changes_and_by_size(
    nats_url: str, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chassis import relay as relaying

    cuts: list[list[str]] = []
    genuine = relaying.publish_atomic

    async def noting(bus: Bus, batch: list[Outgoing], **options: float) -> None:
        cuts.append([one.subject.split(".")[0] for one in batch])
        await genuine(bus, batch, **options)

    monkeypatch.setattr(relaying, "publish_atomic", noting)
    monkeypatch.setattr(relaying, "BATCH_BYTES", 2000)
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        async with pool.acquire() as one, one.transaction():
            metadata = new_metadata()
            at = await load(one, STREAMER, "s1")
            await append(one, "config", at, [streamer_changed(name="x" * 300) for _ in range(5)], metadata=metadata)
            for number in range(2):
                await enqueue(one, "config", add_streamer(f"s{number}"), metadata=metadata)
        relay = Relay(pool, Bus(on.client, "config"), "config")
        await relay.start()
        await eventually(lambda: pool.fetchval("select not exists (select from outbox)"))
        await relay.stop()
        assert cuts[-1] == ["cmd", "cmd"]
        assert [set(cut) for cut in cuts[:-1]] == [{"evt"}] * (len(cuts) - 1)
        assert len(cuts) == 3, "five events of more than 600 bytes are two batches and one message by itself"
        assert await on.count("EVENTS") == 5
        assert await on.count("COMMANDS") == 2


async def test_a_larger_outbox_than_one_batch_goes_out_whole(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        async with pool.acquire() as one:
            at = await load(one, STREAMER, "s1")
            await append(
                one, "config", at, [streamer_changed(name=f"{n}") for n in range(2300)], metadata=new_metadata()
            )
        relay = Relay(pool, Bus(on.client, "config"), "config")
        await relay.start()
        await eventually(lambda: pool.fetchval("select not exists (select from outbox)"))
        await relay.stop()
        state = (await on.js.stream_info("EVENTS")).state
        assert (state.messages, state.last_seq) == (2300, 2300)
        assert b'"name":"2299"' in (await on.js.get_msg("EVENTS", 2300)).data


async def test_the_declared_streams_allow_batches_where_the_relay_sends(nats_url: str) -> None:
    async with wire(nats_url) as on:
        for spec in STREAMS:
            config: api.StreamConfig = (await on.js.stream_info(spec.name)).config
            assert bool(config.allow_atomic) is spec.allow_atomic
        assert {spec.name for spec in STREAMS if spec.allow_atomic} == {"EVENTS", "COMMANDS", "DLQ"}
        assert (await provision.provision(on.js)).changes == []


async def test_the_relay_gives_up_on_a_silent_server_and_tries_again(
    nats_url: str, postgres_dsn: str, monkeypatch
) -> None:
    """A batch whose outcome is unknown is sent again; what did arrive is recognised by its id."""
    from chassis import relay as relaying

    lost = asyncio.Event()
    genuine = relaying.publish_atomic

    async def loses_the_first_answer(bus: Bus, batch: list[Outgoing], **options: float) -> None:
        await genuine(bus, batch, **options)
        if not lost.is_set():
            lost.set()
            raise PublishFailed("the acknowledgement was lost")

    monkeypatch.setattr(relaying, "publish_atomic", loses_the_first_answer)
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        async with pool.acquire() as one:
            at = await load(one, STREAMER, "s1")
            await append(one, "config", at, [streamer_changed(name=n) for n in "abc"], metadata=new_metadata())
        relay = Relay(pool, Bus(on.client, "config"), "config")
        await relay.start()
        await within(lost)
        await eventually(lambda: pool.fetchval("select not exists (select from outbox)"))
        await relay.stop()
        assert names(await on.events()) == ["a", "b", "c"]

"""Messages written by chassis.wire are the messages that the client itself would have sent."""

from __future__ import annotations

import asyncio

import nats
import pytest
from chassis import wire
from nats.errors import ConnectionClosedError, MaxPayloadError

from tests.deadline import DEADLINE_S
from tests.integration.harness import client as connected
from tests.integration.harness import database

pytestmark = pytest.mark.engines

HEADERS = {
    "Nats-Msg-Id": "01a200bd-3a7d-7163-8df0-a4750f142cdf",
    "ce-subject": "streamer/größer-夜",
    "ce-actor": "first line\r\nNats-Rollup: all",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}


@pytest.mark.parametrize("payload", [b"", b"{}", b"x" * 100_000], ids=["empty", "small", "large"])
async def test_a_receiver_sees_no_difference(nats_url: str, payload: bytes) -> None:
    # given a receiver
    client = await nats.connect(nats_url)
    received = await client.subscribe("evt.>")
    # when the same message is sent by the client and by the chassis
    await client.publish("evt.a.b", payload, headers=dict(HEADERS))
    await wire.publish(client, [("evt.a.b", wire.header_lines(HEADERS), payload)])
    theirs, ours = [await received.next_msg(timeout=DEADLINE_S) for _ in range(2)]
    # then they are the same, and no value has become a header
    assert (ours.subject, ours.data, ours.headers) == (theirs.subject, theirs.data, theirs.headers)
    assert ours.headers is not None
    assert "Nats-Rollup" not in ours.headers
    assert ours.headers["ce-actor"].split() == ["first", "line", "Nats-Rollup:", "all"]
    await client.close()


async def test_messages_keep_their_order_among_those_of_the_client(nats_url: str) -> None:
    # given a receiver
    client = await nats.connect(nats_url)
    received = await client.subscribe("evt.>")
    # when both ways are used by turns
    for number in range(0, 200, 2):
        await client.publish("evt.a", str(number).encode(), headers={"n": "1"})
        await wire.publish(client, [("evt.a", wire.header_lines({"n": "1"}), str(number + 1).encode())])
    seen = [int((await received.next_msg(timeout=DEADLINE_S)).data) for _ in range(200)]
    # then nothing has overtaken
    assert seen == list(range(200))
    await client.close()


async def test_what_the_server_would_refuse_is_refused_here(nats_url: str) -> None:
    # given a connection
    client = await nats.connect(nats_url)
    # when a message is larger than the server takes, then it is refused and the connection lives on
    with pytest.raises(MaxPayloadError):
        await wire.publish(client, [("evt.a", wire.header_lines({"n": "1"}), b"x" * client.max_payload)])
    await client.flush()
    # when the connection is closed, then nothing is queued
    await client.close()
    with pytest.raises(ConnectionClosedError):
        await wire.publish(client, [("evt.a", wire.header_lines({"n": "1"}), b"")])


async def test_nothing_is_queued_while_the_server_is_away(nats_url: str, engines) -> None:
    # given a connection whose server goes away
    gone = asyncio.Event()

    async def disconnected() -> None:
        gone.set()

    async def ignore(_: Exception) -> None:
        pass

    async with connected(nats_url, disconnected_cb=disconnected, error_cb=ignore) as client:
        await asyncio.to_thread(engines.nats.kill)
        async with asyncio.timeout(DEADLINE_S):
            await gone.wait()
        # when a message is published, then it fails at once
        with pytest.raises(ConnectionClosedError):
            await wire.publish(client, [("evt.a", wire.header_lines({"n": "1"}), b"")])


async def test_what_the_database_keeps_of_headers_becomes_the_same_lines(postgres_dsn: str) -> None:
    # given headers with everything that JSON escapes
    headers = {**HEADERS, "ce-type": 'a "quoted" b\\c', "ce-time": "\t", "empty": "", "ce-id": '", "x": "y'}
    # when PostgreSQL prints them
    async with database(postgres_dsn) as pool:
        text = await pool.fetchval("select $1::jsonb::text", headers)
        plain = await pool.fetchval("select $1::jsonb::text", {"n": "1", "subject": "größer-夜"})
    # then no line differs, in whatever order the database keeps them
    assert sorted(wire.stored_header_lines(text).split("\r\n")) == sorted(wire.header_lines(headers).split("\r\n"))
    assert wire.stored_header_lines(plain) == "n: 1\r\nsubject: größer-夜\r\n"

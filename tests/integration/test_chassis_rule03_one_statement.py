"""Rule 3: events and outbox are written by one statement, with arrays."""

from __future__ import annotations

import pytest
from chassis.errors import MessageTooLarge
from chassis.eventlog import MAX_BODY, append, load
from chassis.telemetry import new_metadata

from tests.integration.harness import STREAMER, connection, database, streamer_changed

pytestmark = pytest.mark.engines


async def test_an_append_of_many_events_is_one_statement(postgres_dsn: str) -> None:
    async with database(postgres_dsn), connection(postgres_dsn) as one, one.transaction():
        at = await load(one, STREAMER, "s1")
        # when
        await append(one, "config", at, [streamer_changed(name=f"n{n}") for n in range(500)], metadata=new_metadata())
        # then the server says that one command of the transaction made all rows of both tables
        rows = await one.fetch("select cmin::text as command from events union all select cmin::text from outbox")
        assert len(rows) == 1000
        assert len({row["command"] for row in rows}) == 1


async def test_log_and_outbox_tell_the_same_story(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, pool.acquire() as one:
        metadata = new_metadata(actor="somebody")
        at = await load(one, STREAMER, "s1")
        envelopes = await append(
            one, "config", at, [streamer_changed(name=f"n{n}") for n in range(3)], metadata=metadata
        )
        logged = await one.fetch("select event_id, version, type, data, recorded_at from events order by position")
        queued = await one.fetch("select message_id, subject, headers, payload from outbox order by id")
        assert [row["event_id"] for row in logged] == [row["message_id"] for row in queued] == [e.id for e in envelopes]
        for row, out, envelope in zip(logged, queued, envelopes, strict=True):
            assert out["subject"] == "evt.config.streamer.s1.changed.v1"
            assert out["headers"]["Nats-Msg-Id"] == out["headers"]["ce-id"] == str(envelope.id)
            assert out["headers"]["ce-sequence"] == str(row["version"])
            assert out["headers"]["ce-actor"] == "somebody"
            assert out["headers"]["ce-time"] == row["recorded_at"].isoformat() == envelope.time.isoformat()
            assert out["payload"] == envelope.data
            assert row["data"]["name"] == f"n{row['version'] - 1}"


async def test_nothing_is_written_when_one_event_is_too_large_for_the_bus(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, pool.acquire() as one:
        at = await load(one, STREAMER, "s1")
        with pytest.raises(MessageTooLarge):
            await append(
                one, "config", at, [streamer_changed(), streamer_changed(name="x" * MAX_BODY)], metadata=new_metadata()
            )
        assert await one.fetchval("select (select count(*) from events) + (select count(*) from outbox)") == 0


async def test_an_event_of_another_stream_is_refused(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, pool.acquire() as one:
        at = await load(one, STREAMER, "s1")
        with pytest.raises(ValueError, match="streamer-s2"):
            await append(one, "config", at, [streamer_changed("s2")], metadata=new_metadata())


async def test_a_text_with_a_zero_character_is_stored_and_read_back(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, pool.acquire() as one:
        at = await load(one, STREAMER, "s1")
        await append(one, "config", at, [streamer_changed(name="a\0b \\u0000")], metadata=new_metadata())
        again = await load(one, STREAMER, "s1")
        assert again.state[0].name == "a�b \\u0000"

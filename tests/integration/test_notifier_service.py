"""Notifications through the real service: event in, signed webhook out, and nothing of the secrets anywhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import nats
import pytest
from chassis import provision, telemetry
from chassis.ids import new_id
from chassis.leases import MAX_DEATHS
from chassis.secrets import SystemKey, new_system_key
from chassis.service import Service
from contracts import subjects, system
from contracts.envelope import Envelope, wrap
from contracts.message import Command, Event, Message
from contracts.monitor import ChannelWentLive, ChannelWentOffline
from contracts.notifier import (
    NotificationDelivered,
    NotificationFailed,
    NotificationRequested,
    RemoveTarget,
    SaveTarget,
    TargetRemoved,
    TargetSaved,
    TestTarget,
)
from contracts.registry import load_vocabulary

from services.notifier import domain
from services.notifier.adapters.webhook import new_secret, signature
from services.notifier.app import build
from services.notifier.settings import NotifierSettings
from tests.deadline import DEADLINE_S
from tests.studio import Studio

pytestmark = pytest.mark.engines
M = TypeVar("M", bound=Message)
LIVE = ChannelWentLive(streamer_id="anna", title="Night train", category="Music")
PATH = "t0k3n-of-the-path"


@dataclass
class Rig:
    """The service, the studio, and everything that was said on the bus, commands included."""

    service: Service
    studio: Studio
    key: SystemKey
    said: list[Any] = field(default_factory=list)
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def hear(self, raw: Any) -> None:
        # What was published and not seen to be comes again: the stream drops it, a plain subscriber must.
        id = (raw.headers or {}).get("Nats-Msg-Id")
        if id is not None and any((one.headers or {}).get("Nats-Msg-Id") == id for one in self.said):
            return
        async with self.heard:
            self.said.append(raw)
            self.heard.notify_all()

    def all_of(self, cls: type[M]) -> list[M]:
        kind = cls.full_type()
        return [cls.from_json(raw.data) for raw in self.said if (raw.headers or {}).get("ce-type") == kind
                and not raw.subject.startswith("dlq.")]  # fmt: skip

    async def until(self, cls: type[M], n: int = 1) -> M:
        await self.wait_for(lambda: len(self.all_of(cls)) >= n)
        return self.all_of(cls)[n - 1]

    async def wait_for(self, said: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self.heard:
            await self.heard.wait_for(said)

    async def ask(self, command: Command) -> None:
        await self.service.bus.send_direct(command)

    async def happen(self, event: Event) -> Envelope:
        envelope = wrap(event, id=new_id(), metadata=telemetry.new_metadata(), source=event.service, sequence=1)
        await self.service.bus.publish(subjects.of(event), envelope.data, envelope.to_headers())
        return envelope

    async def save(self, sink: str, *, secret: str = "", target_id: str = "", **changes: Any) -> None:
        address = f"{self.studio.sink_url(sink)}/{PATH}"
        command = SaveTarget(
            target_id=target_id or sink,
            kind="webhook",
            name=sink,
            sealed_address=self.key.seal(address),
            sealed_secret=self.key.seal(secret) if secret else "",
            **changes,
        )
        before = len(self.all_of(TargetSaved))
        await self.ask(command)
        await self.until(TargetSaved, before + 1)

    async def count(self, query: str) -> int:
        return int(await self.service.pool.fetchval(f"select count(*) from {query}"))

    async def until_count(self, query: str, n: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while await self.count(query) != n:  # noqa: ASYNC110  (the database tells nobody)
                await asyncio.sleep(0.02)

    async def settled(self) -> None:
        await self.until_count("leases", 0)


@pytest.fixture
async def rig(nats_url: str, postgres_dsn: str) -> AsyncIterator[Rig]:
    client = await nats.connect(nats_url)
    await provision.provision(client.jetstream(timeout=DEADLINE_S))
    secret_key = new_system_key()
    settings = NotifierSettings(
        database_dsn=postgres_dsn,
        nats_url=nats_url,
        secret_key=secret_key,
        allow_private_sources=True,
        max_attempts=4,
        retry_base_delivery_s=0.05,
        retry_base_s=0.1,
    )
    service = build(settings)
    async with Studio() as studio:
        await service.start()
        rig = Rig(service, studio, SystemKey(secret_key))
        for subject in ("evt.>", "cmd.>", "sig.>", "dlq.>"):
            await client.subscribe(subject, cb=rig.hear)
        await client.flush()
        yield rig
        await service.stop()
    await client.close()


async def test_an_event_arrives_as_a_signed_cloudevent(rig: Rig):
    secret = new_secret()
    await rig.save("hook", secret=secret)
    envelope = await rig.happen(LIVE)
    [request] = await rig.studio.wait_for_sink("hook")
    headers, body = request["headers"], request["body"].encode()
    assert request["json"] == envelope.to_structured()
    assert headers["content-type"].startswith("application/cloudevents+json")
    assert headers["webhook-id"] == domain.notification_id(envelope.id, "hook")
    assert headers["webhook-signature"] == signature(
        secret, headers["webhook-id"], int(headers["webhook-timestamp"]), body
    )
    delivered = await rig.until(NotificationDelivered)
    assert (delivered.notification_id, delivered.attempts) == (headers["webhook-id"], 1)
    await rig.settled()
    assert await rig.count("notifications") == 0


async def test_two_failures_are_retried_with_the_same_id_and_it_is_delivered_once(rig: Rig):
    await rig.save("hook")
    await rig.studio.fail_sink("hook", 2, status=500)
    await rig.happen(LIVE)
    delivered = await rig.until(NotificationDelivered)
    requests = await rig.studio.sink("hook")
    assert [request["status"] for request in requests] == [500, 500, 200]
    assert {request["headers"]["webhook-id"] for request in requests} == {delivered.notification_id}
    assert delivered.attempts == 3
    assert len(rig.all_of(NotificationRequested)) == 1
    await rig.settled()
    assert len(await rig.studio.sink("hook")) == 3


async def test_an_event_that_is_sent_twice_is_told_once(rig: Rig):
    await rig.save("hook")
    envelope = await rig.happen(LIVE)
    await rig.until(NotificationDelivered)
    # Past the bus's duplicate window and the inbox: what a republished log looks like.
    await rig.service.pool.execute("delete from inbox")
    headers = {**envelope.to_headers(), "Nats-Msg-Id": "again", "Aircheck-Replayed": "true"}
    await rig.service.bus.publish(subjects.of(LIVE), envelope.data, headers)
    await rig.happen(ChannelWentOffline(streamer_id="anna"))
    await rig.studio.wait_for_sink("hook", 2)
    await rig.settled()
    types = [request["json"]["type"] for request in await rig.studio.sink("hook")]
    assert types == ["aircheck.monitor.channel.went_live.v1", "aircheck.monitor.channel.went_offline.v1"]


async def test_what_cannot_be_delivered_becomes_a_dead_letter_whose_replay_delivers(rig: Rig):
    await rig.save("hook")
    await rig.studio.fail_sink("hook", 4, status=503)
    envelope = await rig.happen(LIVE)
    failed = await rig.until(NotificationFailed)
    assert (failed.attempts, failed.error) == (4, "HTTP 503")
    letter = await rig.until(system.of("notifier", system.DeadLetterBuried))
    assert (letter.letter_type, letter.deliveries) == ("aircheck.notifier.redeliver.v1", 4)
    assert "monitor.channel.went_live.v1: HTTP 503" in letter.error
    await rig.wait_for(lambda: any(raw.subject == "dlq.notifier.commands-notifier" for raw in rig.said))

    replay = system.of("notifier", system.ReplayDeadLetter)
    await rig.ask(replay(letter_id=letter.letter_id))
    delivered = await rig.until(NotificationDelivered)
    await rig.until(system.of("notifier", system.DeadLetterReplayed))
    [*refused, accepted] = await rig.studio.sink("hook")
    assert [request["status"] for request in refused] == [503] * 4
    assert accepted["status"] == 200 and accepted["json"] == envelope.to_structured()
    assert accepted["headers"]["webhook-id"] == refused[0]["headers"]["webhook-id"] == delivered.notification_id
    assert delivered.attempts == 1
    assert await rig.count("dead_letters") == 0


async def test_a_replay_that_fails_again_is_buried_again(rig: Rig):
    await rig.save("hook")
    await rig.studio.fail_sink("hook", 2, status=404)
    await rig.happen(LIVE)
    buried, replay = system.of("notifier", system.DeadLetterBuried), system.of("notifier", system.ReplayDeadLetter)
    first = await rig.until(buried)
    assert first.deliveries == 1
    await rig.ask(replay(letter_id=first.letter_id))
    second = await rig.until(buried, 2)
    assert second.message_id != first.message_id
    await rig.ask(replay(letter_id=second.letter_id))
    await rig.until(NotificationDelivered)
    assert len(rig.all_of(NotificationFailed)) == 2


async def test_a_notification_that_ends_its_process_each_time_is_buried_and_can_be_replayed(rig: Rig):
    await rig.save("hook")
    await rig.service.pool.execute(f"alter table leases alter column deaths set default {MAX_DEATHS}")
    await rig.happen(LIVE)
    letter = await rig.until(system.of("notifier", system.DeadLetterBuried))
    await rig.settled()
    assert "its process ended 5 times" in letter.error
    assert await rig.studio.sink("hook") == []
    # once the cause is mended
    await rig.service.pool.execute("alter table leases alter column deaths set default 0")
    await rig.ask(system.of("notifier", system.ReplayDeadLetter)(letter_id=letter.letter_id))
    await rig.until(NotificationDelivered)
    assert len(await rig.studio.sink("hook")) == 1


async def test_a_crash_between_giving_up_and_burying_still_ends_in_one_letter(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
):
    from chassis import deadletters

    buried, calls = deadletters.bury, 0

    async def broken_once(*arguments: Any) -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError("the replica died here")
        return await buried(*arguments)

    monkeypatch.setattr(deadletters, "bury", broken_once)
    await rig.save("hook")
    await rig.studio.fail_sink("hook", 1, status=404)
    await rig.happen(LIVE)
    await rig.until(system.of("notifier", system.DeadLetterBuried))
    await rig.settled()
    assert calls == 2
    assert len(rig.all_of(NotificationFailed)) == 1
    assert len(await rig.studio.sink("hook")) == 1


async def test_a_removed_target_gets_nothing_and_what_was_under_way_ends_without_a_letter(rig: Rig):
    await rig.save("gone")
    await rig.save("kept")
    await rig.studio.fail_sink("gone", 1, status=500)
    # Nobody claims the second attempt before the target is removed.
    await rig.service.pool.execute(
        "create function wait_long() returns trigger language plpgsql as $$ begin"
        " if new.not_before is not null then new.not_before := now() + interval '1 hour'; end if; return new; end $$;"
        "create trigger wait_long before update on leases for each row execute function wait_long()"
    )
    await rig.happen(LIVE)
    await rig.studio.wait_for_sink("kept")
    await rig.until_count("leases where owner is null and not_before > now() + interval '1 minute'", 1)
    await rig.until_count("leases", 1)
    await rig.ask(RemoveTarget(target_id="gone"))
    await rig.until(TargetRemoved)
    await rig.service.pool.execute("drop trigger wait_long on leases; update leases set not_before = null")
    rig.service.committed()
    failed = await rig.until(NotificationFailed)
    assert (failed.target_id, failed.error) == ("gone", "the target was removed")

    await rig.happen(ChannelWentOffline(streamer_id="anna"))
    await rig.studio.wait_for_sink("kept", 2)
    await rig.settled()
    assert [request["status"] for request in await rig.studio.sink("gone")] == [500]
    assert rig.all_of(system.of("notifier", system.DeadLetterBuried)) == []
    assert {event.target_id for event in rig.all_of(NotificationRequested)[2:]} == {"kept"}
    assert await rig.count("data_keys") == 1


async def test_a_test_goes_the_same_way(rig: Rig):
    await rig.save("hook", secret=new_secret(), enabled=False)
    await rig.ask(TestTarget(target_id="hook"))
    [request] = await rig.studio.wait_for_sink("hook")
    assert request["json"]["type"] == "aircheck.notifier.test_target.v1"
    assert request["headers"]["webhook-signature"].startswith("v1,")
    assert (await rig.until(NotificationDelivered)).target_id == "hook"


async def dump(rig: Rig) -> str:
    """Every value of every table as text, bytes included."""
    tables = await rig.service.pool.fetch("select tablename from pg_tables where schemaname = current_schema()")
    found = []
    for table in tables:
        for row in await rig.service.pool.fetch(f'select * from "{table["tablename"]}"'):
            found += [
                value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in dict(row).values()
            ]
    return "\n".join(found)


async def test_secrets_are_nowhere_in_clear_text(rig: Rig, capfd: pytest.CaptureFixture[str]):
    secret = new_secret()
    # The relay empties the outbox at once, so that a copy is looked at.
    await rig.service.pool.execute(
        "create table outbox_copy as table outbox;"
        "create function keep() returns trigger language plpgsql as $$ begin"
        " insert into outbox_copy select new.*; return new; end $$;"
        "create trigger keep after insert on outbox for each row execute function keep()"
    )
    await rig.save("hook", secret=secret)
    await rig.save("down", secret=secret)
    await rig.studio.fail_sink("down", 4, status=500)
    await rig.ask(
        SaveTarget(target_id="bad", kind="apprise", name="bad", sealed_address=rig.key.seal(f"nobody://{PATH}"))
    )
    await rig.until(system.of("notifier", system.CommandRejected))
    await rig.happen(LIVE)
    await rig.until(NotificationDelivered)
    await rig.until(system.of("notifier", system.DeadLetterBuried))
    await rig.settled()

    bus = "\n".join(f"{raw.subject} {raw.headers} {raw.data.decode()}" for raw in rig.said)
    logs = "".join(capfd.readouterr())
    tables = await dump(rig)
    # Each place is looked at for real: it holds what it is meant to hold.
    assert "notifier.target.saved.v1" in bus and "sealed_address" in bus
    assert "notification.retry" in logs
    assert "HTTP 500" in tables and "127.0.0.1" in tables and await rig.count("outbox_copy")
    for place in (bus, logs, tables):
        for word in (secret, secret.removeprefix("whsec_"), PATH):
            assert word not in place


@pytest.mark.parametrize("key", ["", "not a key"])
def test_the_service_refuses_to_be_built_without_a_system_key(key: str):
    with pytest.raises(ValueError, match="key"):
        build(NotifierSettings(database_dsn="postgresql://nobody@127.0.0.1/nothing", secret_key=key))


def test_every_command_and_event_has_a_handler():
    service = build(NotifierSettings(database_dsn="postgresql://x@127.0.0.1/x", secret_key=new_system_key()))
    assert service.handlers.missing() == []
    assert {cls.message_type for cls in load_vocabulary().commands() if cls.service == "notifier"} >= {
        "notifier.redeliver.v1"
    }

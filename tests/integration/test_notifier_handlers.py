"""The notifier's reactions against a real database: what is kept, what is asked for, what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from chassis import eventlog, migrate, telemetry
from chassis.database import Pool, open_pool
from chassis.dispatcher import Dispatcher
from chassis.egress import EgressPolicy
from chassis.ids import new_id
from chassis.secrets import SecretUnreadable, SystemKey, new_system_key
from chassis.work import Resources
from contracts import system
from contracts.config import StreamerRemoved, StreamerResolved
from contracts.envelope import Envelope, wrap
from contracts.message import Event, Message
from contracts.monitor import ChannelWentLive, ChannelWentOffline, SessionOpened
from contracts.notifier import (
    NotificationRequested,
    Redeliver,
    RemoveTarget,
    SaveTarget,
    TargetRemoved,
    TargetSaved,
    TestTarget,
)
from contracts.pipeline import RunFailed
from contracts.values import Effective

from services.notifier import domain, handlers, store
from services.notifier.adapters.apprise import AppriseChannel
from services.notifier.adapters.channel import Channels
from services.notifier.adapters.webhook import WebhookChannel, new_secret
from services.notifier.settings import NotifierSettings

pytestmark = pytest.mark.engines
ADDRESS = "https://hooks.example/in/t0k3n-of-the-path"
POLICY = EgressPolicy()
MIGRATIONS = Path(handlers.__file__).with_name("migrations")
OPENED = SessionOpened(
    session_id="s", streamer_id="a", streamer_name="Anna L", url="https://live.example/a", platform="example",
    title="Night train", category="", started_at="2024-01-01T00:00:00+00:00",
)  # fmt: skip


@dataclass
class Rig:
    pool: Pool
    key: SystemKey
    resources: Resources
    dispatcher: Dispatcher = field(init=False)

    def __post_init__(self) -> None:
        self.dispatcher = Dispatcher(handlers.handlers(), self.pool, self.resources)

    async def take(self, message: Message, *, age_s: float = 0, id: Any = None) -> Envelope:
        time = datetime.now(UTC) - timedelta(seconds=age_s)
        source = message.service if isinstance(message, Event) else "gateway"
        envelope = wrap(
            message, id=id or new_id(), metadata=telemetry.new_metadata(), source=source, sequence=1, time=time
        )
        await self.dispatcher.execute("test", message, envelope)
        return envelope

    async def save(self, target_id: str = "t", *, address: str = ADDRESS, **changes: Any) -> Envelope:
        sealed = self.key.seal(address) if address else ""
        values: dict[str, Any] = {"kind": "webhook", "name": "Ops", "sealed_address": sealed}
        return await self.take(SaveTarget(target_id=target_id, **(values | changes)))

    async def log(self) -> list[Event]:
        async with self.pool.acquire() as connection:
            return [recorded.event for recorded in await eventlog.read(connection)]

    async def rejection(self) -> Any:
        last = (await self.log())[-1]
        assert isinstance(last, system.CommandRejected)
        return last.problem

    async def destination(self, target_id: str = "t", key: SystemKey | None = None) -> store.Destination | None:
        async with self.pool.acquire() as connection:
            return await store.destination(connection, key or self.key, target_id)

    async def pending(self, envelope: Envelope, target_id: str = "t") -> store.Pending | None:
        async with self.pool.acquire() as connection:
            return await store.notification(connection, domain.notification_id(envelope.id, target_id))

    async def requested(self) -> list[str]:
        return [event.target_id for event in await self.log() if isinstance(event, NotificationRequested)]

    async def offered(self) -> set[str]:
        return {row["name"] for row in await self.pool.fetch("select name from leases")}


@pytest.fixture
async def rig(postgres_dsn: str) -> AsyncIterator[Rig]:
    pool = await open_pool(postgres_dsn, name="notifier-test")
    await migrate.migrate(pool, migrate.CHASSIS, MIGRATIONS)
    secret_key = new_system_key()
    resources = Resources()
    apprise = AppriseChannel(POLICY)
    # Nothing is sent here, so that the webhook channel needs no session.
    resources.provide(Channels(WebhookChannel(None, POLICY), apprise))  # type: ignore[arg-type]
    resources.provide(SystemKey(secret_key))
    resources.provide(NotifierSettings(database_dsn=postgres_dsn, secret_key=secret_key, max_event_age_s=3600))
    yield Rig(pool, SystemKey(secret_key), resources)
    apprise.close()
    await pool.close()


async def test_a_saved_target_can_be_opened_and_shows_its_host_alone(rig: Rig):
    secret = new_secret()
    await rig.save(sealed_secret=rig.key.seal(secret), events=("session.*",))
    assert await rig.log() == [
        TargetSaved(
            target_id="t", kind="webhook", name="Ops", host="hooks.example", events=("session.*",), enabled=True
        )
    ]
    assert await rig.destination() == store.Destination("webhook", ADDRESS, secret)


async def test_each_save_makes_a_new_data_key_and_the_old_one_opens_nothing_any_more(rig: Rig):
    await rig.save()
    before = await rig.pool.fetchrow("select wrapped, address from data_keys join targets using (target_id)")
    await rig.save()
    after = await rig.pool.fetchrow("select wrapped, address from data_keys join targets using (target_id)")
    assert before["wrapped"] != after["wrapped"]
    assert rig.key.with_data_key(after["wrapped"]).open(after["address"]) == ADDRESS
    with pytest.raises(SecretUnreadable):
        rig.key.with_data_key(before["wrapped"]).open(after["address"])
    with pytest.raises(SecretUnreadable):
        await rig.destination(key=SystemKey(new_system_key()))


async def test_saving_without_an_address_keeps_it(rig: Rig):
    await rig.save()
    await rig.save(address="", events=("session.*",), enabled=False)
    destination = await rig.destination()
    assert destination is not None and destination.address == ADDRESS
    assert await rig.pool.fetchval("select events from targets") == ["session.*"]
    assert await rig.pool.fetchval("select enabled from targets") is False


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
async def test_an_apprise_target_shows_the_messenger_alone(rig: Rig):
    await rig.save(kind="apprise", address="ntfys://t0pic@127.0.0.1")
    [saved] = await rig.log()
    assert isinstance(saved, TargetSaved) and saved.host == "ntfy"


@pytest.mark.parametrize(
    ("address", "changes", "detail"),
    [
        ("ftp://hooks.example/t0k3n", {}, "scheme"),
        ("http://127.0.0.1/t0k3n", {}, "loopback"),
        ("https://hooks.example/" + "t0k3n" * 2000, {}, "longer than"),
        (ADDRESS, {"events": ("sesion.*",)}, "matches none"),
        ("", {}, "needs its address"),
        (ADDRESS, {"sealed_address": SystemKey(new_system_key()).seal(ADDRESS)}, "not sealed with the system key"),
        (ADDRESS, {"sealed_secret": "t0k3n in clear text"}, "not sealed with the system key"),
    ],
)
async def test_what_cannot_work_is_refused_and_leaves_nothing(
    rig: Rig, address: str, changes: dict[str, Any], detail: str
):
    await rig.save(address=address, **changes)
    problem = await rig.rejection()
    assert problem.status == 422 and detail in problem.detail and "t0k3n" not in problem.detail
    assert await rig.pool.fetchval("select count(*) from targets") == 0


async def test_a_bad_signing_secret_is_refused_without_repeating_it(rig: Rig):
    await rig.save(sealed_secret=rig.key.seal("my-own-s3cr3t"))
    problem = await rig.rejection()
    assert "whsec_" in problem.detail and "s3cr3t" not in problem.detail


async def test_removing_a_target_deletes_its_key_and_it_hears_nothing_more(rig: Rig):
    await rig.save()
    await rig.save("other")
    await rig.take(RemoveTarget(target_id="t"))
    assert (await rig.log())[-1] == TargetRemoved(target_id="t")
    assert [row["target_id"] for row in await rig.pool.fetch("select target_id from data_keys")] == ["other"]
    await rig.take(ChannelWentOffline(streamer_id="a"))
    assert await rig.requested() == ["other"]


@pytest.mark.parametrize(
    "command", [RemoveTarget(target_id="t"), TestTarget(target_id="t"), Redeliver(notification_id="n")]
)
async def test_unknown_things_are_not_found(rig: Rig, command: Message):
    await rig.take(command)
    assert (await rig.rejection()).status == 404


async def test_an_event_becomes_one_notification_per_target_that_wants_it(rig: Rig):
    await rig.save("all")
    await rig.save("sessions", events=("session.*", "upload.*"))
    await rig.save("uploads", events=("upload.*",))
    await rig.save("off", enabled=False)
    envelope = await rig.take(OPENED)
    assert await rig.requested() == ["all", "sessions"]
    ids = {domain.notification_id(envelope.id, target) for target in ("all", "sessions")}
    assert await rig.offered() == {f"notification:{id}" for id in ids}
    pending = await rig.pending(envelope, "sessions")
    assert pending is not None
    assert pending.event == envelope.to_structured()
    assert (pending.title, pending.severity, pending.attempts, pending.error) == (
        "Broadcast of Anna L",
        "info",
        0,
        None,
    )


async def test_what_follows_from_an_event_belongs_to_its_story(rig: Rig):
    await rig.save()
    envelope = await rig.take(OPENED)
    async with rig.pool.acquire() as connection:
        requested = (await eventlog.read(connection))[-1]
    assert requested.metadata.correlation_id == envelope.metadata.correlation_id
    assert requested.metadata.causation_id == envelope.id


async def test_an_event_that_is_told_again_is_the_same_notification(rig: Rig):
    await rig.save()
    envelope = await rig.take(OPENED)
    await rig.pool.execute("delete from inbox")
    await rig.take(OPENED, id=envelope.id)
    assert await rig.requested() == ["t"]
    assert await rig.pool.fetchval("select count(*) from notifications") == 1


async def test_history_is_not_news(rig: Rig):
    await rig.save()
    await rig.take(ChannelWentOffline(streamer_id="a"), age_s=3700)
    assert await rig.requested() == []
    await rig.take(ChannelWentOffline(streamer_id="a"), age_s=3500)
    assert await rig.requested() == ["t"]


async def test_a_test_reaches_one_target_even_when_it_is_disabled(rig: Rig):
    await rig.save(enabled=False)
    await rig.save("other")
    envelope = await rig.take(TestTarget(target_id="t"))
    assert await rig.requested() == ["t"]
    pending = await rig.pending(envelope)
    assert pending is not None and pending.event["type"] == "aircheck.notifier.test_target.v1"


async def body(rig: Rig, event: Event) -> str:
    pending = await rig.pending(await rig.take(event))
    assert pending is not None
    return pending.body


async def test_messages_use_the_names_that_other_events_told(rig: Rig):
    await rig.save()
    live = ChannelWentLive(streamer_id="a", title="", category="")
    failed = RunFailed(run_id="r", session_id="s", kind="session", index=-1, error="x")
    assert await body(rig, live) == "a went live."
    await rig.take(OPENED)
    assert "Anna L" in await body(rig, failed)
    resolved = StreamerResolved(
        streamer_id="a", url="https://live.example/a", name="Anna", platform="example", enabled=True,
        effective=Effective(), provenance={},
    )  # fmt: skip
    await rig.take(resolved, age_s=10_000)
    assert await body(rig, live) == "Anna went live."
    assert "of Anna failed" in await body(rig, failed)
    await rig.take(StreamerRemoved(streamer_id="a"))
    assert "Anna L" in await body(rig, failed)


async def test_titles_of_old_sessions_are_forgotten(rig: Rig):
    await rig.take(OPENED)
    await rig.pool.execute("update sessions set opened_at = now() - interval '31 days'")
    await rig.take(OPENED.model_copy(update={"session_id": "later"}))
    assert [row["session_id"] for row in await rig.pool.fetch("select session_id from sessions")] == ["later"]


async def fail(rig: Rig, envelope: Envelope, keep_s: float = 60) -> str:
    id = domain.notification_id(envelope.id, "t")
    async with rig.pool.acquire() as connection:
        at = await eventlog.load(connection, domain.NOTIFICATION, id)
        events = domain.decide_failed(at.state, 8, "HTTP 500")
        await eventlog.append(connection, "notifier", at, events, metadata=telemetry.new_metadata())
        await store.failed(connection, id, "HTTP 500", keep_s)
        await connection.execute("delete from leases")
    return id


async def test_a_failed_notification_begins_anew_when_asked(rig: Rig):
    await rig.save()
    envelope = await rig.take(OPENED)
    id = await fail(rig, envelope)
    await rig.take(Redeliver(notification_id=id))
    pending = await rig.pending(envelope)
    assert pending is not None and (pending.attempts, pending.rounds, pending.error) == (0, 2, None)
    assert await rig.offered() == {f"notification:{id}"}
    assert await rig.requested() == ["t", "t"]
    await rig.take(Redeliver(notification_id=id))
    assert await rig.requested() == ["t", "t"]


async def test_nobody_is_told_again_after_the_target_or_the_event_is_gone(rig: Rig):
    await rig.save()
    first = await fail(rig, await rig.take(OPENED))
    await rig.pool.execute("update notifications set failed_at = now() - interval '2 minutes'")
    second = await fail(rig, await rig.take(OPENED))
    await rig.take(Redeliver(notification_id=first))
    assert (await rig.rejection()).title == "Too old"
    await rig.take(RemoveTarget(target_id="t"))
    await rig.take(Redeliver(notification_id=second))
    assert (await rig.rejection()).title == "Target removed"
    assert await rig.offered() == set()

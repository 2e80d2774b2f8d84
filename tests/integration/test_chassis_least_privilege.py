"""Least privilege on the bus and in the database: each service may do what its work needs, and everything else is refused by the engines."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg
import nats
import pytest
from chassis import provision
from chassis.bus import Bus, connection_options
from chassis.database import open_pool
from chassis.migrate import CHASSIS, migrate
from chassis.service import Service
from contracts import access, streams, subjects, topology
from contracts.access import PROVISIONER
from contracts.config import AddStreamer, CredentialTold, TellCredential
from contracts.monitor import SourcesResolved
from contracts.registry import load_vocabulary
from contracts.system import SERVICES
from nats.aio.client import Client

from deploy.embedded.nats_config import NatsUser
from deploy.embedded.provision import provision_database
from tests.deadline import DEADLINE_S
from tests.engines.handles import NatsEngine
from tests.integration.harness import (
    Wire,
    add_streamer,
    append_name,
    connection,
    eventually,
    handlers_of,
    healthy,
    running,
    settings,
    within,
)

pytestmark = pytest.mark.engines
ADMIN = (
    "$JS.API.STREAM.CREATE.X $JS.API.STREAM.DELETE.EVENTS $JS.API.STREAM.PURGE.EVENTS $JS.API.STREAM.UPDATE.EVENTS $JS.API.STREAM.LIST \
$JS.API.STREAM.MSG.DELETE.EVENTS $JS.API.STREAM.MSG.GET.EVENTS $JS.API.DIRECT.GET.EVENTS $JS.API.STREAM.SNAPSHOT.EVENTS \
$JS.API.CONSUMER.CREATE.EVENTS $JS.API.CONSUMER.CREATE.EVENTS.x $JS.API.CONSUMER.DURABLE.CREATE.EVENTS.x $JS.API.CONSUMER.LIST.EVENTS \
$JS.API.CONSUMER.DELETE.EVENTS.projector $JS.API.META.LEADER.STEPDOWN $SYS.REQ.SERVER.PING anything"
)


@dataclass
class Guarded:
    """A bus with one user for each service, the provisioner and an administrator of the test."""

    url: str
    users: dict[str, NatsUser]

    @asynccontextmanager
    async def client(self, name: str) -> AsyncIterator[Client]:
        user = self.users[name]
        client = await nats.connect(
            **connection_options(self.url, name, user=user.name, password=user.password)
            | {"error_cb": _ignore, "disconnected_cb": _none}
        )
        try:
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[Wire]:
        async with self.client("administrator") as client:
            yield Wire(client)


async def _ignore(error: Exception) -> None: ...


async def _none() -> None: ...


@pytest.fixture
async def guarded(start_nats: Callable[..., NatsEngine]) -> Guarded:
    users = {}
    for name in (*SERVICES, PROVISIONER):
        allowed = access.provisioner() if name == PROVISIONER else access.permissions(name)
        users[name] = NatsUser(name, secrets.token_urlsafe(12), publish=allowed.publish, subscribe=allowed.subscribe)
    users["administrator"] = NatsUser("administrator", secrets.token_urlsafe(12))
    bus = Guarded(start_nats(users=list(users.values())).url, users)
    async with bus.client(PROVISIONER) as client:
        assert (await provision.provision(client.jetstream(timeout=DEADLINE_S))).changes
    return bus


async def refused(client: Client, *, publish: list[str] = [], subscribe: list[str] = []) -> tuple[set[str], set[str]]:  # noqa: B006
    """Which of the subjects the server refuses to take from, or to give to, this client."""
    heard: list[str] = []

    async def hear(error: Exception) -> None:
        heard.append(str(error).lower())

    client._error_cb = hear
    for subject in publish:
        await client.publish(subject, b"")
    for subject in subscribe:
        await client.subscribe(subject)
    await client.flush()
    await client.flush()
    found = " ".join(heard)
    return (
        {one for one in publish if f'publish to "{one.lower()}"' in found},
        {one for one in subscribe if f'subscription to "{one.lower()}"' in found},
    )


@pytest.mark.parametrize("service", SERVICES)
async def test_what_is_none_of_its_business_is_refused(guarded: Guarded, service: str) -> None:
    others = [other for other in SERVICES if other != service]
    sends = topology.SENDS[service]
    forbidden = ADMIN.split()
    for other in others:
        forbidden += [
            f"evt.{other}.x.1.y.v1",
            f"sig.{other}.x.1",
            f"log.{other}.info",
            f"dlq.{other}.x",
            f"{access.inbox_prefix(other)}.x",
        ]
    forbidden += [subjects.filter_of(command) for command in load_vocabulary().commands() if command not in sends]
    for consumer in streams.consumers():
        owner = "gateway" if consumer.name == topology.PROJECTOR else consumer.name
        if owner != service:
            forbidden.append(f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream}.{consumer.name}")
            forbidden.append(f"$JS.ACK.{consumer.stream}.{consumer.name}.1.1.1.1.1")
            forbidden.append(f"$JS.API.CONSUMER.INFO.{consumer.stream}.{consumer.name}")
    if service != "danmu":
        forbidden.append("chat.s1")
    if service != "downloader":
        forbidden.append("live.s1")
    listening = [
        "evt.>",
        "cmd.>",
        ">",
        "_INBOX.>",
        "$JS.EVENT.>",
        *(f"{access.inbox_prefix(other)}.>" for other in others),
    ]
    if service != "gateway":
        listening += ["sig.>", "log.>", "chat.>", "live.>", "dlq.>"]
    async with guarded.client(service) as client:
        publish, subscribe = await refused(client, publish=forbidden, subscribe=listening)
        assert set(forbidden) - publish == set(), "accepted what should be refused"
        assert set(listening) - subscribe == set(), "may listen where it should not"


@pytest.mark.parametrize("service", SERVICES)
async def test_what_its_work_needs_is_allowed(guarded: Guarded, service: str) -> None:
    allowed = [
        f"evt.{service}.x.1.y.v1",
        f"sig.{service}.x.1",
        f"log.{service}.info",
        f"dlq.{service}.x",
        "$JS.API.INFO",
    ]
    allowed += [subjects.filter_of(command) for command in topology.SENDS[service]]
    async with guarded.client(service) as client:
        publish, subscribe = await refused(client, publish=allowed, subscribe=[f"{access.inbox_prefix(service)}.x"])
        assert (publish, subscribe) == (set(), set())


async def test_the_provisioner_may_declare_and_do_nothing_else(guarded: Guarded) -> None:
    forbidden = [
        "evt.config.x.1.y.v1",
        "cmd.config.add_streamer.v1",
        "$JS.ACK.EVENTS.projector.1.1.1.1.1",
        "dlq.config.x",
    ]
    async with guarded.client(PROVISIONER) as client:
        publish, subscribe = await refused(client, publish=forbidden, subscribe=["evt.>", "_INBOX_config.>"])
        assert publish == set(forbidden)
        assert subscribe == {"evt.>", "_INBOX_config.>"}


@pytest.fixture
async def databases(postgres_admin_dsn: str) -> AsyncIterator[dict[str, str]]:
    """The DSN of each service's role in one database, provisioned as a deployment's is."""
    passwords = {service: secrets.token_urlsafe(12) for service in SERVICES}
    name = f"aircheck_{secrets.token_hex(4)}"
    await provision_database(postgres_admin_dsn, passwords, database=name)
    address = urlsplit(postgres_admin_dsn)
    yield {s: f"postgresql://{s}:{pw}@{address.hostname}:{address.port}/{name}" for s, pw in passwords.items()}
    async with connection(postgres_admin_dsn) as admin:
        await admin.execute(f"drop database {name} with (force)")


async def test_each_role_has_its_own_tables_and_no_others(databases: dict[str, str]) -> None:
    for dsn in databases.values():
        pool = await open_pool(dsn, name="test")
        await migrate(pool, CHASSIS)
        await pool.close()
    for service, dsn in databases.items():
        others = [other for other in SERVICES if other != service]
        forbidden = ["create table public.x ()", "create schema x", "create role x", f"set role {others[0]}"]
        for other in others:
            forbidden += [
                f"select from {other}.events",
                f"insert into {other}.outbox default values",
                f"create table {other}.x ()",
            ]
        async with connection(dsn) as own:
            assert await own.fetchval("select current_schema()") == service
            assert await own.fetchval("select count(*) from events") == 0
            for statement in forbidden:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await own.execute(statement)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await asyncpg.connect(f"{dsn.rpartition('/')[0]}/postgres")


async def test_a_service_works_completely_under_its_restricted_user(
    guarded: Guarded, databases: dict[str, str]
) -> None:
    from chassis.errors import Poison
    from contracts import system

    async def handler(command: AddStreamer, work) -> None:
        if command.name == "bad":
            raise Poison("bad")
        if command.name == "nothing":
            return
        await append_name(command, work)

    user = guarded.users["config"]
    service = Service(
        settings("config", databases["config"], guarded.url, nats_user=user.name, nats_password=user.password),
        handlers_of("config", {AddStreamer: handler}),
    )
    async with guarded.wire() as on, running(service):
        await healthy(service)
        # commands in, events out, many at once so that batches are used
        for number in range(30):
            await on.send(add_streamer(f"s{number}", f"n{number}"))
        await on.holds(30)
        # signals
        await on.send(add_streamer("s1", "nothing"))
        await on.holds(1, "SIGNALS")
        # dead letters
        await on.send(add_streamer("s1", "bad"))
        await on.holds(1, "DLQ")
        await on.settled("config")
        # maintenance
        await on.send(system.of("config", system.Republish)(request_id="r1"))
        await on.holds(32)
        assert not service.bus.client.last_error


async def test_direct_gets_signals_and_commands_between_services(guarded: Guarded) -> None:
    from contracts.monitor import CheckChannel

    async with guarded.wire() as on, guarded.client("monitor") as monitor, guarded.client("downloader") as downloader:
        sender, reader = Bus(monitor, "monitor"), Bus(downloader, "downloader")
        assert await reader.last_signal(SourcesResolved, "s1") is None
        heard = asyncio.Event()

        async def hear(subject: str, message: object) -> None:
            heard.set()

        await reader.listen(subjects.filter_of(SourcesResolved), hear)
        # A round trip, because a flush of this client may overtake the subscription.
        await reader.ping()
        signal = SourcesResolved(streamer_id="s1", live=False, resolved_at="2026-01-01T00:00:00+00:00", sources=())
        await sender.signal(signal)
        await within(heard)

        async def there() -> object:
            return await reader.last_signal(SourcesResolved, "s1")

        assert await eventually(there) == signal
        await reader.send_direct(
            CheckChannel(streamer_id="s1", url="https://example.org/x", name="x", offline_grace_s=1)
        )
        await on.holds(1, "COMMANDS")


async def test_who_may_ask_for_a_credential_and_hear_it(guarded: Guarded) -> None:
    question, answer = subjects.filter_of(TellCredential), subjects.filter_of(CredentialTold)
    allowed = {"monitor", "downloader", "danmu"}
    async with guarded.client("config") as owner:
        for name in allowed:
            async with guarded.client(name) as client:
                heard = asyncio.Event()

                async def hear(subject: str, message: object, heard: asyncio.Event = heard) -> None:
                    heard.set()

                asker = Bus(client, name)
                await asker.listen(subjects.signal(CredentialTold, "mine"), hear)
                await asker.send_direct(TellCredential(credential_id="mine"))
                await Bus(owner, "config").signal(CredentialTold(credential_id="mine"))
                await within(heard)
    for name in set(SERVICES) - allowed - {"config", "gateway"}:
        async with guarded.client(name) as client:
            assert await refused(client, publish=[question], subscribe=[answer]) == ({question}, {answer})


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "gateway"])
async def test_every_service_consumes_under_its_own_user(
    guarded: Guarded, databases: dict[str, str], service: str
) -> None:
    """Every durable consumer of the service is bound, pulled from and acknowledged."""
    user = guarded.users[service]
    own = Service(
        settings(service, databases[service], guarded.url, nats_user=user.name, nats_password=user.password),
        handlers_of(service),
    )
    async with guarded.wire() as on, running(own):
        await on.raw(f"cmd.{service}.unreadable.v1", b"x")
        mine = [spec for spec in streams.consumers() if spec.name == service and spec.stream == "EVENTS"]
        for spec in mine:
            await on.raw(spec.filters[0].replace("*", "x"), b"x")
        # each is buried: the letters, their events and the copies went out under the same user
        await on.holds(1 + len(mine), "DLQ")
        for spec in (
            *mine,
            next(one for one in streams.consumers() if one.name == service and one.stream == "COMMANDS"),
        ):
            await on.settled(service, spec.stream)
        await healthy(own)

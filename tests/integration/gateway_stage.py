"""A stage for the gateway's tests: real engines, the gateway in process, a small config service, and a hand for publishing events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import nats
from chassis import provision
from chassis.bus import end
from chassis.errors import Poison
from chassis.handlers import Handlers
from chassis.ids import new_id
from chassis.secrets import new_system_key
from chassis.service import Service
from chassis.settings import ServiceSettings
from contracts import config, subjects
from contracts.aggregate import Aggregate, Rejected
from contracts.envelope import Metadata, wrap
from contracts.message import Event
from contracts.values import Effective

from services.gateway.api.server import HttpServer
from services.gateway.app import build
from services.gateway.projections.projector import Projector
from services.gateway.settings import GatewaySettings
from tests.deadline import DEADLINE_S

PASSWORD = "a long enough password"
STREAMER = Aggregate("streamer", (), lambda state, event: (*state, event))
LAYER = Aggregate("layer", (), lambda state, event: (*state, event))


def config_handlers() -> Handlers:
    """The smallest config service that answers as the real one does, with a defect: it cannot handle what is called poison."""
    handlers = Handlers("config")

    @handlers.command(config.AddStreamer)
    async def add(command: config.AddStreamer, work: Any) -> None:
        at = await work.load(STREAMER, command.streamer_id)
        if at.version or command.url.endswith("taken"):
            raise Rejected("Already watched", detail="another streamer has this address")
        name = command.name or "unnamed"
        values = {"streamer_id": command.streamer_id, "url": command.url, "name": name, "platform": "direct"}
        added = config.StreamerAdded(**values, template=command.template, layer=command.layer, enabled=command.enabled)
        resolved = config.StreamerResolved(
            **values, enabled=command.enabled, effective=Effective(), provenance={"quality": "default"}
        )
        await work.append(at, [added, resolved])

    @handlers.command(config.ChangeStreamer)
    async def change(command: config.ChangeStreamer, work: Any) -> None:
        at = await work.load(STREAMER, command.streamer_id)
        if not at.version:
            raise Rejected("Unknown streamer", status=404, detail="there is no such streamer")
        if command.expected_version not in (None, at.version):
            raise Rejected("Stale", status=412, detail=f"it is at version {at.version}")
        if command.name == "poison":
            raise Poison("a defect, with a password in its text")
        if command.name and command.name != at.state[-1].name:
            await work.append(at, [config.StreamerChanged(streamer_id=command.streamer_id, name=command.name)])

    @handlers.command(config.RemoveStreamer)
    async def remove(command: config.RemoveStreamer, work: Any) -> None:
        at = await work.load(STREAMER, command.streamer_id)
        if at.state[0].name == "poison":
            raise Poison("a defect, with a password in its text")
        await work.append(at, [config.StreamerRemoved(streamer_id=command.streamer_id)])

    @handlers.command(config.SaveLayer)
    async def save(command: config.SaveLayer, work: Any) -> None:
        at = await work.load(LAYER, command.layer_id)
        saved = config.LayerSaved(layer_id=command.layer_id, kind=command.kind, name=command.name, layer=command.layer)
        await work.append(at, [saved])

    @handlers.direct(config.TellCredential)
    async def tell(command: config.TellCredential, work: Any) -> None:
        await work.begin()

    for cls in (
        config.StartStreamer,
        config.StopStreamer,
        config.RemoveLayer,
        config.SaveCredential,
        config.RemoveCredential,
    ):

        @handlers.command(cls)
        async def nothing(command: Any, work: Any) -> None:
            await work.begin()
            if getattr(command, "expected_version", None) == 1:
                raise Rejected("Stale", status=412)

    return handlers


class Stage:
    """Everything a test needs to talk to one or more gateways."""

    def __init__(self, nats_url: str, dsn: str, make_database: Callable[[], str], folder: Path) -> None:
        self.nats_url, self.dsn, self.make_database, self.folder = nats_url, dsn, make_database, folder
        self.secret_key = new_system_key()
        self.client: Any = None

    async def gateway(self, **settings: Any) -> Service:
        """Start a replica."""
        defaults: dict[str, Any] = {
            "database_dsn": self.dsn,
            "nats_url": self.nats_url,
            "secret_key": self.secret_key,
            "port": 0,
            "admin_password": PASSWORD,
            "data_dir": self.folder,
            "argon2_memory_kib": 8192,
            "argon2_time_cost": 1,
            "heal_grace_s": 0.2,
            # On a busy machine an outcome may take longer than clients are made to wait for it.
            "command_wait_s": 60,
        }
        service = build(GatewaySettings(**(defaults | settings)))
        await service.start()
        return service

    async def config(self, handlers: Handlers | None = None) -> Service:
        """Start the small config service."""
        settings = ServiceSettings(service="config", database_dsn=self.make_database(), nats_url=self.nats_url)
        service = Service(settings, handlers or config_handlers())
        await service.start()
        return service

    async def publish(self, *events: Event, first: int = 1, metadata: Metadata | None = None) -> list[Any]:
        """Publish events of one stream as their service's relay would, with versions from ``first`` on."""
        sent = []
        for version, event in enumerate(events, first):
            meta = metadata or Metadata(correlation_id=new_id())
            envelope = wrap(event, id=new_id(), metadata=meta, source=event.service, sequence=version)
            await self.send(event, envelope)
            sent.append(envelope)
        return sent

    async def send(self, event: Event, envelope: Any) -> None:
        """Publish one event in its envelope."""
        await self.client.jetstream(timeout=DEADLINE_S).publish(
            subjects.of(event), envelope.data, headers=envelope.to_headers(), stream="EVENTS"
        )


@asynccontextmanager
async def staged(nats_url: str, dsn: str, make_database: Callable[[], str], folder: Path) -> AsyncIterator[Stage]:
    """A stage with streams and consumers in place."""
    stage = Stage(nats_url, dsn, make_database, folder)
    stage.client = await nats.connect(nats_url)
    await provision.provision(stage.client.jetstream(timeout=DEADLINE_S))
    try:
        yield stage
    finally:
        await end(stage.client)


def url_of(service: Service) -> str:
    """Where a replica answers."""
    return service.resources.get(HttpServer).url


def projecting(service: Service) -> bool:
    """Whether a replica is the active projector."""
    return service.resources.get(Projector).active


@asynccontextmanager
async def logged_in(
    service: Service, username: str = "admin", password: str = PASSWORD
) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client with an access token."""
    async with httpx.AsyncClient(base_url=url_of(service), timeout=DEADLINE_S) as client:
        answer = await client.post("/api/login", json={"username": username, "password": password})
        assert answer.status_code == 200, answer.text
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


async def until(condition: Callable[[], Awaitable[Any]], timeout_s: float = DEADLINE_S) -> Any:
    """Ask again until there is an answer; the deadline fails the test."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = await condition()
        if found:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"did not come true within {timeout_s} s")


async def sse(
    client: httpx.AsyncClient, count: int, path: str = "/api/events/stream", **kwargs: Any
) -> list[dict[str, str]]:
    """The first frames of an event stream as fields, without comments."""
    found: list[dict[str, str]] = []
    async with asyncio.timeout(DEADLINE_S), client.stream("GET", path, **kwargs) as response:
        assert response.status_code == 200
        fields: dict[str, str] = {}
        async for line in response.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            if "data" in fields:
                found.append(fields)
            fields = {}
            if len(found) == count:
                return found
    return found


def data_of(frame: dict[str, str]) -> dict[str, Any]:
    """The CloudEvent of a frame."""
    return json.loads(frame["data"])

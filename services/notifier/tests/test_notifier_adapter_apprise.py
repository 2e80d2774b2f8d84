"""The Apprise channel, with Apprise's own plugins against a server on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from chassis.egress import EgressPolicy

from services.notifier.adapters import apprise as apprise_module
from services.notifier.adapters.apprise import AppriseChannel
from services.notifier.adapters.channel import (
    Channel,
    Delivered,
    InvalidTarget,
    Notification,
    Permanent,
    Target,
    Transient,
)
from tests.deadline import DEADLINE_S

# Apprise's mail plugin imports a module that Python 3.13 removed.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

HOME = EgressPolicy(allow_private=True)
NOTIFICATION = Notification(id="1", title="Anna is live", body="Night <train>", event={}, severity="success")


class Receiver:
    def __init__(self) -> None:
        self.port = 0
        self.bodies: list[bytes] = []
        self.status = 200
        self.location = ""
        self.release: asyncio.Event | None = None

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        if self.release is not None:
            await self.release.wait()
        return web.Response(status=self.status, headers={"Location": self.location} if self.location else {})


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    serving = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", serving.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    serving.port = runner.addresses[0][1]
    yield serving
    await runner.cleanup()


@pytest.fixture
def channel() -> Iterator[AppriseChannel]:
    made = AppriseChannel(HOME, timeout_seconds=DEADLINE_S)
    yield made
    made.close()


async def test_a_message_arrives(receiver: Receiver, channel: AppriseChannel) -> None:
    outcome = await channel.send(Target(f"json://127.0.0.1:{receiver.port}/hidden"), NOTIFICATION)

    assert outcome == Delivered("JSON")
    [body] = receiver.bodies
    said = json.loads(body)
    assert (said["title"], said["message"], said["type"]) == ("Anna is live", "Night <train>", "success")


@pytest.mark.parametrize("severity", ["info", "success", "warning", "failure"])
async def test_every_severity_is_spoken(receiver: Receiver, channel: AppriseChannel, severity: str) -> None:
    notification = Notification(id="1", title="t", body="", event={}, severity=severity)  # type: ignore[arg-type]

    assert isinstance(await channel.send(Target(f"json://127.0.0.1:{receiver.port}"), notification), Delivered)
    assert json.loads(receiver.bodies[0])["type"] == severity


@pytest.mark.parametrize("status", [400, 500])
async def test_a_refusal_is_transient_as_nobody_says_why(
    receiver: Receiver, channel: AppriseChannel, status: int
) -> None:
    receiver.status = status

    outcome = await channel.send(Target(f"json://127.0.0.1:{receiver.port}"), NOTIFICATION)

    assert outcome == Transient("the service did not accept the message")


async def test_redirects_are_not_followed(receiver: Receiver, channel: AppriseChannel) -> None:
    receiver.status, receiver.location = 307, f"http://127.0.0.1:{receiver.port}/elsewhere"

    outcome = await channel.send(Target(f"json://127.0.0.1:{receiver.port}"), NOTIFICATION)

    assert isinstance(outcome, Transient)
    assert len(receiver.bodies) == 1


async def test_a_service_that_hangs_runs_into_the_timeout(receiver: Receiver) -> None:
    receiver.release = asyncio.Event()
    channel = AppriseChannel(HOME, timeout_seconds=0.5)

    outcome = await channel.send(Target(f"json://127.0.0.1:{receiver.port}"), NOTIFICATION)

    assert outcome == Transient("the service did not answer within 0.5 s")
    receiver.release.set()
    channel.close()


@pytest.mark.parametrize(
    "address", ["json://127.0.0.1:{port}/x", "json://localhost:{port}/x", "gotify://127.0.0.1:{port}/Aabcdefghijklmn"]
)
async def test_private_addresses_are_refused(receiver: Receiver, address: str) -> None:
    channel = AppriseChannel(EgressPolicy(), timeout_seconds=DEADLINE_S)

    outcome = await channel.send(Target(address.format(port=receiver.port)), NOTIFICATION)

    assert isinstance(outcome, Permanent)
    assert "loopback" in outcome.reason
    assert receiver.bodies == []
    channel.close()


async def test_a_name_that_changes_its_answer_after_the_check_leads_nowhere(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = socket.getaddrinfo, []

    def rebinding(host: str, port: Any, *more: Any, **named: Any) -> Any:
        if host != "rebind.example":
            return real(host, port, *more, **named)
        asked.append(host)
        address = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
        return real(address, receiver.port if len(asked) > 1 else port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    channel = AppriseChannel(EgressPolicy(), timeout_seconds=DEADLINE_S)
    try:
        outcome = await channel.send(Target(f"json://rebind.example:{receiver.port}/hidden"), NOTIFICATION)
    finally:
        channel.close()

    assert len(asked) == 2, "it was judged, and then connected to"
    assert isinstance(outcome, Transient)
    assert receiver.bodies == []


async def test_a_private_mail_server_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def public(self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
        return [{"hostname": host, "host": "8.8.8.8", "port": port, "family": 2, "proto": 0, "flags": 0}]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", public)
    channel = AppriseChannel(EgressPolicy(), timeout_seconds=DEADLINE_S)

    outcome = await channel.send(Target("mailto://me:hidden@mail.example?smtp=10.0.0.1"), NOTIFICATION)

    assert isinstance(outcome, Permanent)
    assert "10.0.0.1" in outcome.reason
    assert "hidden" not in outcome.reason
    channel.close()


@pytest.mark.parametrize(
    "address",
    ["discord://1234567890/abcdefghijklmnop", "ntfy://secret-topic", "tgram://123456789:abcdefg_hijklmnop/12315544/"],
)
async def test_tokens_are_never_looked_up_as_names(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    looked_up: list[str] = []

    async def lookup(self: object, host: str, port: int = 0, family: int = 0) -> list[object]:
        looked_up.append(host)
        raise OSError("name unknown")

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", lookup)
    monkeypatch.setattr(apprise_module, "_notify", lambda service, notification: True)
    channel = AppriseChannel(EgressPolicy(), timeout_seconds=DEADLINE_S)

    assert isinstance(await channel.send(Target(address), NOTIFICATION), Delivered)
    assert looked_up == []
    channel.close()


async def test_a_mail_domain_without_an_address_is_left_to_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(self: object, host: str, port: int = 0, family: int = 0) -> list[object]:
        raise OSError("name unknown")

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", unknown)
    monkeypatch.setattr(apprise_module, "_notify", lambda service, notification: True)
    channel = AppriseChannel(EgressPolicy(), timeout_seconds=DEADLINE_S)

    outcome = await channel.send(
        Target("mailgun://user@mail.example/abcdef0123456789-abcdef01-abcdef01/to"), NOTIFICATION
    )

    assert isinstance(outcome, Delivered)
    channel.close()


NOT_USABLE = ["", "nonsense://hidden", "discord://", "hidden", "json://[::1", "json://\0", "mailto://" + "x" * 100_000]
LOCAL = ["syslog://", "DBUS://", "windows://"]


@pytest.mark.parametrize("address", NOT_USABLE + LOCAL)
async def test_bad_addresses_are_permanent_and_not_repeated(channel: AppriseChannel, address: str) -> None:
    with pytest.raises(InvalidTarget) as invalid:
        channel.check(Target(address))
    assert "hidden" not in str(invalid.value)

    assert isinstance(await channel.send(Target(address), NOTIFICATION), Permanent)


async def test_a_plugin_that_breaks_is_transient(channel: AppriseChannel, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(service: object, notification: Notification) -> bool:
        raise KeyError("hidden")

    monkeypatch.setattr(apprise_module, "_notify", broken)

    assert await channel.send(Target("json://127.0.0.1:9"), NOTIFICATION) == Transient(
        "the service could not be reached: KeyError"
    )


async def test_only_the_service_is_shown(channel: AppriseChannel) -> None:
    assert channel.host(Target("discord://1234567890/abcdefghijklmnop")) == "Discord"
    assert isinstance(channel, Channel)


@pytest.mark.parametrize(
    "address", ["nonsense s3cr3t-s3cr3t", "nobody://s3cr3t-s3cr3t", "slack://T1JJ3T3L2/s3cr3t-s3cr3t", "discord://s3cr3t-s3cr3t/"]
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_not_repeated_anywhere(
    address: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidTarget) as refused:
        AppriseChannel(HOME).check(Target(address))
    assert "s3cr3t" not in f"{refused.value}{caplog.text}{''.join(capfd.readouterr())}"

"""Webhooks: what a receiver gets, how it can check it, and what each of its answers means."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from chassis.egress import EgressPolicy, open_session

from services.notifier.adapters.channel import (
    Channel,
    Delivered,
    InvalidTarget,
    Notification,
    Permanent,
    Target,
    Transient,
)
from services.notifier.adapters.webhook import BODY_LIMIT, WebhookChannel, new_secret, signature
from tests.deadline import DEADLINE_S

HOME = EgressPolicy(allow_private=True)
NOW = 1614265330.7
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EVENT = {
    "specversion": "1.0",
    "id": "018f",
    "type": "aircheck.monitor.session.opened.v1",
    "source": "/monitor",
    "data": {"title": "直播"},
}
NOTIFICATION = Notification(id="ntf_1", title="Anna is live", body="Night train", event=EVENT)


class Receiver:
    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answer = web.Response(status=200)

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((headers, await request.read()))
        return self.answer


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    serving = Receiver()
    app = web.Application()
    app.router.add_post("/hook/{tail:.*}", serving.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    serving.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook/token"
    yield serving
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(HOME) as opened:
        yield opened


@pytest.fixture
def channel(session: aiohttp.ClientSession) -> WebhookChannel:
    return WebhookChannel(session, HOME, timeout_seconds=DEADLINE_S, clock=lambda: NOW)


def answer(status: int, **headers: str) -> web.Response:
    return web.Response(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


# --- the message -----------------------------------------------------------------------------------------------------


def test_the_documented_signature() -> None:
    # Source: the example of the Standard Webhooks reference libraries.
    assert (
        signature(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
        == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


async def test_a_receiver_gets_a_signed_cloud_event(receiver: Receiver, channel: WebhookChannel) -> None:
    outcome = await channel.send(Target(receiver.url, SECRET), NOTIFICATION)

    assert outcome == Delivered("HTTP 200")
    [(headers, body)] = receiver.requests
    assert json.loads(body) == EVENT
    assert headers["content-type"].startswith("application/cloudevents+json")
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("ntf_1", "1614265330")
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = hmac.new(key, b"ntf_1.1614265330." + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"


async def test_two_secrets_sign_side_by_side(receiver: Receiver, channel: WebhookChannel) -> None:
    second = new_secret()

    await channel.send(Target(receiver.url, f"{SECRET} {second}"), NOTIFICATION)

    [(headers, body)] = receiver.requests
    assert headers["webhook-signature"].split() == [
        signature(SECRET, "ntf_1", 1614265330, body),
        signature(second, "ntf_1", 1614265330, body),
    ]


async def test_without_a_secret_nothing_is_signed(receiver: Receiver, channel: WebhookChannel) -> None:
    assert isinstance(await channel.send(Target(receiver.url), NOTIFICATION), Delivered)
    assert "webhook-signature" not in receiver.requests[0][0]


def test_new_secrets_are_usable_and_different() -> None:
    first, second = new_secret(), new_secret()

    assert first != second
    assert signature(first, "a", 1, b"") != signature(second, "a", 1, b"")


# --- the answer ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_accepted(receiver: Receiver, channel: WebhookChannel, status: int) -> None:
    receiver.answer = answer(status)

    assert await channel.send(Target(receiver.url), NOTIFICATION) == Delivered(f"HTTP {status}")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_answers_that_may_change(receiver: Receiver, channel: WebhookChannel, status: int) -> None:
    receiver.answer = answer(status)

    assert await channel.send(Target(receiver.url), NOTIFICATION) == Transient(f"HTTP {status}", None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422])
async def test_answers_that_will_not_change(receiver: Receiver, channel: WebhookChannel, status: int) -> None:
    receiver.answer = answer(status)

    outcome = await channel.send(Target(receiver.url), NOTIFICATION)

    assert isinstance(outcome, Permanent)
    assert str(status) in outcome.reason


async def test_redirects_are_not_followed(receiver: Receiver, channel: WebhookChannel) -> None:
    receiver.answer = answer(307, Location=receiver.url + "/elsewhere")

    outcome = await channel.send(Target(receiver.url), NOTIFICATION)

    assert isinstance(outcome, Permanent)
    assert "redirects" in outcome.reason
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("17", 17.0),
        ("0", 0.0),
        ("999999999", 86400.0),
        ("Thu, 25 Feb 2021 15:03:10 GMT", 60.0 - 0.7),
        ("Thu, 25 Feb 2021 15:00:00 GMT", 0.0),
        ("Thu, 25 Feb 2099 15:00:00 GMT", 86400.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        ("²", None),
        ("9" * 5000, None),
    ],
)
async def test_the_receivers_wish_to_wait(
    receiver: Receiver, channel: WebhookChannel, value: str, wait: float | None
) -> None:
    receiver.answer = answer(503, Retry_After=value)

    outcome = await channel.send(Target(receiver.url), NOTIFICATION)

    assert isinstance(outcome, Transient)
    assert outcome.retry_after == (pytest.approx(wait) if wait is not None else None)


async def test_nobody_there_is_transient(channel: WebhookChannel) -> None:
    outcome = await channel.send(Target("http://127.0.0.1:9/hook/token"), NOTIFICATION)

    assert isinstance(outcome, Transient)
    assert "token" not in outcome.reason


# --- the target ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (Target("ftp://a.example/x"), "scheme"),
        (Target("not an address"), "space"),
        (Target("https://user:hidden@a.example/x"), "credential"),
        (Target("https://a.example/x", "hidden"), "whsec_"),
        (Target("https://a.example/x", "whsec_hidden!"), "base64"),
        (Target("https://a.example/x", "whsec_c2hvcnQ="), "between 24 and 64"),
        (Target("https://a.example/x", f"{SECRET} hidden"), "whsec_"),
    ],
)
async def test_bad_targets_are_named_and_never_sent(channel: WebhookChannel, target: Target, reason: str) -> None:
    with pytest.raises(InvalidTarget, match=reason) as invalid:
        channel.check(target)
    assert "hidden" not in str(invalid.value)

    outcome = await channel.send(target, NOTIFICATION)
    assert isinstance(outcome, Permanent)
    assert "hidden" not in outcome.reason


async def test_private_addresses_are_refused(receiver: Receiver) -> None:
    policy = EgressPolicy()
    async with open_session(policy) as session:
        outcome = await WebhookChannel(session, policy, timeout_seconds=DEADLINE_S).send(
            Target(receiver.url), NOTIFICATION
        )

    assert isinstance(outcome, Permanent)
    assert "loopback" in outcome.reason
    assert receiver.requests == []


async def test_a_name_that_resolves_to_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def private(self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        return [{"hostname": host, "host": "10.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", private)
    policy = EgressPolicy()
    async with open_session(policy) as session:
        outcome = await WebhookChannel(session, policy, timeout_seconds=DEADLINE_S).send(
            Target("https://inside.example/x"), NOTIFICATION
        )

    assert isinstance(outcome, Permanent)
    assert "private" in outcome.reason


async def test_an_event_beyond_the_limit_is_not_sent(receiver: Receiver, channel: WebhookChannel) -> None:
    large = Notification(id="x", title="", body="", event={"data": "x" * BODY_LIMIT})

    assert isinstance(await channel.send(Target(receiver.url), large), Permanent)
    assert receiver.requests == []


async def test_only_the_host_is_shown(channel: WebhookChannel) -> None:
    assert channel.host(Target("https://hooks.example/services/T0/hidden?token=hidden")) == "hooks.example"
    assert "hidden" not in repr(Target("https://hooks.example/hidden", "hidden"))
    assert isinstance(channel, Channel)

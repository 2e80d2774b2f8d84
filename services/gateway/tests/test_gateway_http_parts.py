"""Small parts of the HTTP surface: mailboxes, cursors, entity tags, the edge."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.api.context import address_of
from services.gateway.api.edge import Edge
from services.gateway.api.paging import Paging, _read
from services.gateway.api.problems import Refusal
from services.gateway.api.versions import _expected, etag, require
from services.gateway.realtime.mailbox import Clients, Gone, Mailbox, TooManyClients
from tests.deadline import DEADLINE_S


async def test_a_mailbox_gives_what_was_put_in_and_nothing_in_vain():
    box = Mailbox(2)
    box.offer(1)
    box.offer(2)

    assert [await box.get(0), await box.get(0), await box.get(0)] == [1, 2, None]


async def test_a_full_mailbox_ends_the_stream():
    box = Mailbox(1)
    box.offer(1)
    box.offer(2)

    with pytest.raises(Gone) as gone:
        await box.get(1)
    assert gone.value.too_slow


async def test_closing_wakes_who_waits():
    clients = Clients(1, 10)
    waiting = asyncio.create_task(clients.open().get(60))
    await asyncio.sleep(0)

    clients.close()

    with pytest.raises(Gone) as gone:
        async with asyncio.timeout(DEADLINE_S):
            await waiting
    assert not gone.value.too_slow
    with pytest.raises(TooManyClients):
        clients.open()


def paging(limit=2, cursor=None):
    request = Request({"type": "http", "path": "/api/x", "query_string": b"limit=2&state=open", "headers": []})
    return Paging(limit, _read(cursor) if cursor else None, request, Response())


def test_a_cursor_names_the_last_item_shown():
    first = paging()
    page = first.page([{"name": "a", "id": "1"}, {"name": "b", "id": "2"}, {"name": "c", "id": "3"}], "name", "id")

    assert len(page["items"]) == 2
    assert paging(cursor=page["next"]).by_name() == ("b", "2")
    assert first.response.headers["link"] == f'</api/x?limit=2&state=open&cursor={page["next"]}>; rel="next"'


def test_the_last_page_has_no_cursor():
    last = paging()

    assert last.page([{"name": "a", "id": "1"}], "name", "id")["next"] is None
    assert "link" not in last.response.headers


@pytest.mark.parametrize(
    "value", ["x", [], ["a"], ["a", "b", "c"], [1, "b"], ["a", None], ["a\x00", "b"], ["\ud800", "b"]]
)
def test_cursors_of_others_are_refused(value):
    text = base64.urlsafe_b64encode(json.dumps(value).encode()).decode()

    with pytest.raises(Refusal) as refused:
        paging(cursor=text).by_name()
    assert refused.value.status == 400


def test_entity_tags():
    assert etag(7) == '"7"'
    assert [_expected(text) for text in ('"7"', " * ", None)] == [7, None, None]
    for malformed in ("7", 'W/"7"', '"7","8"', '"x"', '"07"', ""):
        with pytest.raises(Refusal) as refused:
            _expected(malformed)
        assert refused.value.status == 400
    require(None, 3)
    require(3, 3)
    with pytest.raises(Refusal) as stale:
        require(2, 3)
    assert stale.value.status == 412


async def through_edge(app, chunks=(b"",), headers=()):
    """One POST through the edge; what the client gets."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages[-1]["more_body"] = False
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "headers": list(headers)}
    await Edge(app, max_body=10)(scope, receive, send)
    start = next(message for message in sent if message["type"] == "http.response.start")
    body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return start["status"], dict(start["headers"]), body


async def echo(scope, receive, send):
    request = Request(scope, receive)
    await Response(await request.body())(scope, receive, send)


async def test_the_edge_hands_the_body_on_whole():
    status, headers, body = await through_edge(echo, [b"ab", b"", b"cd"])

    assert (status, body) == (200, b"abcd")
    assert headers[b"x-content-type-options"] == b"nosniff" and headers[b"cache-control"] == b"no-store"


@pytest.mark.parametrize(
    ("chunks", "headers"),
    [([b"123456", b"789012"], []), ([b""], [(b"content-length", b"11")]), ([b""], [(b"content-length", b"-1")])],
)
async def test_the_edge_bounds_bodies(chunks, headers):
    status, _, body = await through_edge(echo, chunks, headers)

    assert status == 413 and json.loads(body)["status"] == 413


async def test_the_edge_continues_the_trace_of_the_caller():
    trace = b"0af7651916cd43dd8448eb211c80319c"
    for given, kept in (
        (b"00-" + trace + b"-b7ad6b7169203331-01", True),
        (b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01", False),
    ):
        _, headers, _ = await through_edge(echo, headers=[(b"traceparent", given)])
        assert (headers[b"traceparent"].split(b"-")[1] == trace) == kept


async def test_an_exception_nobody_caught_is_a_problem():
    async def broken(scope, receive, send):
        raise RuntimeError("secret reason")

    status, headers, body = await through_edge(broken)

    assert status == 500 and headers[b"content-type"] == b"application/problem+json"
    assert b"secret" not in body


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a unix socket", "a unix socket"),
    ],
)
def test_whoever_owns_an_ipv6_network_counts_as_one(host: str, counted: str) -> None:
    assert address_of(Request({"type": "http", "client": (host, 1)})) == counted


def test_a_cursor_that_is_nested_without_end_is_a_bad_cursor() -> None:
    def deep(frames: int) -> None:
        if frames:
            deep(frames - 1)
        else:
            _read(base64.urlsafe_b64encode(b"[" * 748).decode())

    with pytest.raises(Refusal, match="cursor"):
        deep(500)

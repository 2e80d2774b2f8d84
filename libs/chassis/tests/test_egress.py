"""What `chassis.egress` lets out and what it holds back."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from chassis.egress import (
    EgressPolicy,
    GuardedResolver,
    RefusedAddress,
    ResponseTooLarge,
    check_url,
    open_session,
    read_bounded,
    resolve_checked,
)

STRICT = EgressPolicy()
HOME = EgressPolicy(allow_private=True)


class ScriptedResolver(AbstractResolver):
    """Answers each lookup of a name with the next of its answers, and the last one for ever."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = {name.replace("_", "."): list(lists) for name, lists in answers.items()}
        self.lookups: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.lookups.append(host)
        if host not in self.answers:
            raise OSError(None, "name unknown")
        script = self.answers[host]
        addresses = script.pop(0) if len(script) > 1 else script[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        return


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[..., Awaitable[int]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server that answers every path with one handler on a loopback address; gives its port."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler, address: str = "127.0.0.1") -> int:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, address, 0)
        await site.start()
        return int(runner.addresses[0][1])

    yield start
    for runner in runners:
        await runner.cleanup()


# --- what is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://live.bilibili.com/6",
        "http://example.com:8080/a.flv?x=1#top",
        "https://8.8.8.8/x",
        "https://[2606:4700::1111]/x",
        "https://例え.jp/live",
        "https://a_b.example.com/x",
        "https://example.com./x",
    ],
)
def test_public_addresses_pass(url: str) -> None:
    assert check_url(url, STRICT).host


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1/", "loopback"),
        ("http://[::1]/", "loopback"),
        ("http://localhost:9000/", "loopback"),
        ("http://api.localhost/", "loopback"),
        ("http://LOCALHOST./", "loopback"),
        ("http://10.1.2.3/", "private"),
        ("http://172.31.0.1/", "private"),
        ("http://192.168.0.1/", "private"),
        ("http://[fd12::1]/", "private"),
        ("http://100.64.0.1/", "shared"),
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("http://[fe80::1]/", "link-local"),
        ("http://224.0.0.1/", "multicast"),
        ("http://[ff02::1]/", "multicast"),
        ("http://0.0.0.0/", "unspecified"),
        ("http://[::]/", "unspecified"),
        ("http://240.0.0.1/", "reserved"),
        ("http://255.255.255.255/", "reserved"),
        ("http://192.0.2.7/", "documentation"),
        ("http://[2001:db8::1]/", "documentation"),
        ("http://198.18.0.1/", "benchmarking"),
        ("http://[::ffff:8.8.8.8]/", "IPv4-mapped"),
        ("http://[::ffff:127.0.0.1]/", "IPv4-mapped"),
        ("http://[::127.0.0.1]/", "IPv4-compatible"),
        ("http://[2002:7f00:1::]/", "6to4"),
        ("http://[64:ff9b::10.0.0.1]/", "NAT64"),
        ("http://[64:ff9b:1::1]/", "NAT64"),
        ("http://[2001:0:1::1]/", "Teredo"),
        ("http://[fe80::1%25eth0]/", "zone id"),
        ("http://0x7f.1/", "unusual spelling"),
        ("http://0x7f000001/", "unusual spelling"),
        ("http://2130706433/", "unusual spelling"),
        ("http://127.1/", "unusual spelling"),
        ("http://0177.0.0.1/", "unusual spelling"),
        ("http://127.0.0.1./", "loopback"),
        ("http://127。0。0。1/", "loopback"),
        ("http://①②⑦.1/", "unusual spelling"),
        ("http://8.8.8.8.8/", "unusual spelling"),
        ("http://%31%32%37.0.0.1/", "not a host name"),
        ("http://ex%00ample.com/", "not a host name"),
        ("http://a..b/", "not a"),
        ("ftp://example.com/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("//example.com/", "scheme"),
        ("example.com/live", "scheme"),
        ("http:///live", "host"),
        ("http://user:secret@example.com/", "credential"),
        ("http://user@example.com/", "credential"),
        ("http://example.com:0/", "port 0"),
        ("http://example.com:99999/", "not a valid address"),
        ("http://example.com\\@127.0.0.1/", "backslash"),
        ("http://example.com/\r\nHost: x", "control character"),
        (" http://example.com/", "space"),
        ("http://example.com/" + "a" * 9000, "longer than"),
        ("", "scheme"),
    ],
)
def test_everything_else_is_refused_with_its_reason(url: str, reason: str) -> None:
    with pytest.raises(RefusedAddress, match=reason) as refused:
        check_url(url, STRICT)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://localhost/", "http://10.0.0.1/", "http://[fd00::1]/"])
def test_allow_private_opens_home_networks(url: str) -> None:
    assert check_url(url, HOME).host


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/", "http://224.0.0.1/", "http://0.0.0.0/", "http://[::ffff:10.0.0.1]/", "http://127.1/"],
)
def test_allow_private_does_not_open_metadata_services_or_odd_spellings(url: str) -> None:
    with pytest.raises(RefusedAddress):
        check_url(url, HOME)


def test_a_named_network_is_open_and_its_neighbours_are_not() -> None:
    policy = EgressPolicy(allowed_networks=("10.1.0.0/16", "169.254.10.0/24"))

    assert check_url("http://10.1.9.9/", policy)
    assert check_url("http://169.254.10.1/", policy)
    with pytest.raises(RefusedAddress, match="private"):
        check_url("http://10.2.0.1/", policy)
    with pytest.raises(RefusedAddress, match="loopback"):
        check_url("http://localhost/", policy)


def test_a_misspelt_network_is_an_error_at_configuration_time() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/33"):
        EgressPolicy(allowed_networks=("10.0.0.0/33",))


def test_credentials_pass_where_the_policy_allows_them() -> None:
    assert check_url("http://u:p@example.com/", EgressPolicy(allow_credentials=True)).user == "u"


# --- what a name resolves to -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("64:ff9b::808:808", True),  # DNS64 for 8.8.8.8
        ("64:ff9b::7f00:1", False),  # DNS64 for 127.0.0.1
        ("::ffff:8.8.8.8", False),
        ("127.0.0.1", False),
        ("fe80::1%2", False),
        ("2002:a00:1::", False),
    ],
)
async def test_resolved_addresses_are_judged(address: str, allowed: bool) -> None:
    resolver = ScriptedResolver(live_example=[[address]])

    if allowed:
        assert await resolve_checked("live.example", STRICT, resolver=resolver) == (address,)
    else:
        with pytest.raises(RefusedAddress, match=r"live\.example"):
            await resolve_checked("live.example", STRICT, resolver=resolver)


async def test_one_private_address_in_an_answer_refuses_the_answer() -> None:
    guarded = GuardedResolver(STRICT, ScriptedResolver(live_example=[["8.8.8.8", "192.168.1.1"]]))

    with pytest.raises(RefusedAddress, match=r"192\.168\.1\.1"):
        await guarded.resolve("live.example")


async def test_literals_need_no_lookup() -> None:
    resolver = ScriptedResolver()

    assert await resolve_checked("8.8.8.8", STRICT, resolver=resolver) == ("8.8.8.8",)
    assert resolver.lookups == []


async def test_an_unknown_name_is_not_a_refusal() -> None:
    with pytest.raises(OSError, match="name unknown"):
        await resolve_checked("gone.example", STRICT, resolver=ScriptedResolver())


# --- sessions --------------------------------------------------------------------------------------------------------


async def body_of(session: aiohttp.ClientSession, url: str, **options: Any) -> str:
    async with session.get(url, **options) as response:
        return await response.text()


async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def test_a_session_connects_to_the_address_that_was_judged(serve: Serve) -> None:
    # given a name whose first answer is allowed and whose second would not be
    port = await serve(hello)
    resolver = ScriptedResolver(live_example=[["127.0.0.1"], ["127.0.0.2"]])
    policy = EgressPolicy(allowed_networks=("127.0.0.1/32",))

    # when it is asked once
    async with open_session(policy, resolver=resolver) as session:
        assert await body_of(session, f"http://live.example:{port}/", headers={"Connection": "close"}) == "hello"

    # then one lookup served one connection: nothing resolved the name a second time behind the guard
    assert resolver.lookups == ["live.example"]


async def test_a_name_that_rebinds_is_refused_on_its_next_connection(serve: Serve) -> None:
    port = await serve(hello)
    resolver = ScriptedResolver(live_example=[["127.0.0.1"], ["127.0.0.2"]])
    policy = EgressPolicy(allowed_networks=("127.0.0.1/32",))

    async with open_session(policy, resolver=resolver) as session:
        assert await body_of(session, f"http://live.example:{port}/") == "hello"
    async with open_session(policy, resolver=resolver) as session:
        with pytest.raises(RefusedAddress, match=r"127\.0\.0\.2"):
            await session.get(f"http://live.example:{port}/")


@pytest.mark.parametrize(
    "target", ["http://127.0.0.2:{port}/", "http://inside.example:{port}/", "http://2130706434:{port}/"]
)
async def test_a_redirect_to_a_private_address_is_refused(serve: Serve, target: str) -> None:
    # given a public server that redirects to a private one
    reached = False

    async def private(request: web.Request) -> web.Response:
        nonlocal reached
        reached = True
        return web.Response(text="secret")

    private_port = await serve(private, "127.0.0.2")

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound(target.format(port=private_port))

    port = await serve(redirect)
    resolver = ScriptedResolver(live_example=[["127.0.0.1"]], inside_example=[["127.0.0.2"]])

    # when it is followed, then it ends at the guard
    async with open_session(EgressPolicy(allowed_networks=("127.0.0.1/32",)), resolver=resolver) as session:
        with pytest.raises(RefusedAddress):
            await session.get(f"http://live.example:{port}/")
    assert not reached


async def test_a_redirect_to_an_allowed_address_is_followed(serve: Serve) -> None:
    final = await serve(hello, "127.0.0.2")

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://127.0.0.2:{final}/")

    port = await serve(redirect)
    async with open_session(EgressPolicy(allowed_networks=("127.0.0.0/8",))) as session:
        assert await body_of(session, f"http://127.0.0.1:{port}/") == "hello"


async def test_switching_the_middleware_off_does_not_open_the_door(serve: Serve) -> None:
    port = await serve(hello)

    async with open_session(STRICT) as session:
        with pytest.raises(RefusedAddress, match="loopback"):
            await session.get(f"http://127.0.0.1:{port}/", middlewares=())


async def test_web_sockets_are_guarded_too() -> None:
    async with open_session(STRICT) as session:
        with pytest.raises(RefusedAddress, match="loopback"):
            await session.ws_connect("ws://127.0.0.1:9/")


async def test_a_private_proxy_is_used_and_private_targets_behind_it_are_refused(serve: Serve) -> None:
    asked: list[str] = []

    async def proxy(request: web.Request) -> web.Response:
        asked.append(str(request.url))
        return web.Response(text="through the proxy")

    port = await serve(proxy)
    resolver = ScriptedResolver(
        proxy_example=[["127.0.0.1"]], live_example=[["8.8.8.8"]], inside_example=[["10.0.0.1"]]
    )
    async with open_session(STRICT, proxy=f"http://proxy.example:{port}", resolver=resolver) as session:
        assert await body_of(session, "http://live.example/x") == "through the proxy"
        for private in ("http://inside.example/x", "http://10.0.0.1/x"):
            with pytest.raises(RefusedAddress):
                await session.get(private)

    assert asked == ["http://live.example/x"]


async def test_cookies_stay_with_their_domain(serve: Serve) -> None:
    seen: dict[str, str] = {}

    async def other(request: web.Request) -> web.Response:
        seen["other"] = request.headers.get("Cookie", "")
        return web.Response()

    other_port = await serve(other)

    async def first(request: web.Request) -> web.Response:
        seen["first"] = request.headers.get("Cookie", "")
        raise web.HTTPFound(f"http://other.example:{other_port}/")

    port = await serve(first)
    resolver = ScriptedResolver(api_live_example=[["127.0.0.1"]], other_example=[["127.0.0.1"]])
    async with open_session(
        HOME, cookies={"SESSDATA": "a%2Cb"}, cookie_domains=("live.example",), resolver=resolver
    ) as session:
        await body_of(session, f"http://api.live.example:{port}/")

    assert seen == {"first": "SESSDATA=a%2Cb", "other": ""}


async def test_cookies_work_for_hosts_written_as_addresses(serve: Serve) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("Cookie", ""))

    port = await serve(echo)
    async with open_session(HOME, cookies={"a": "1"}, cookie_domains=("127.0.0.1",)) as session:
        assert await body_of(session, f"http://127.0.0.1:{port}/") == "a=1"


async def test_cookie_values_are_sent_as_they_are(serve: Serve) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("Cookie", ""))

    port = await serve(echo)
    async with open_session(HOME, cookies={"a": 'x,"y"={}/+=='}, cookie_domains=("127.0.0.1",)) as session:
        assert await body_of(session, f"http://127.0.0.1:{port}/") == 'a=x,"y"={}/+=='


@pytest.mark.parametrize(
    ("name", "value"), [("a", "x; b=1"), ("a", "x\r\nX: y"), ("a b", "x"), ("", "x"), ("path", "x")]
)
async def test_cookies_that_would_be_something_else_are_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="cookie"):
        open_session(STRICT, cookies={name: value}, cookie_domains=("live.example",))


async def test_cookies_without_a_domain_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="cookie_domains"):
        open_session(STRICT, cookies={"a": "1"})


async def test_bodies_are_bounded(serve: Serve) -> None:
    async def long(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100_000)

    port = await serve(long)
    async with open_session(HOME) as session:
        async with session.get(f"http://127.0.0.1:{port}/") as response:
            assert len(await read_bounded(response, 100_000)) == 100_000
        async with session.get(f"http://127.0.0.1:{port}/") as response:
            with pytest.raises(ResponseTooLarge, match="99999"):
                await read_bounded(response, 99_999)


async def test_the_read_buffer_is_the_one_asked_for(serve: Serve) -> None:
    port = await serve(hello)
    async with (
        open_session(HOME, read_buffer=1024 * 1024) as session,
        session.get(f"http://127.0.0.1:{port}/") as response,
    ):
        assert isinstance(response.content, aiohttp.StreamReader)
        assert response.content.get_read_buffer_limits()[1] >= 1024 * 1024

"""Headers, logins, proxies, certificates: the same for our own engine and for ffmpeg, and no secret shows."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop
from aiohttp import web
from chassis.accounts import Login
from chassis.egress import EgressPolicy
from contracts.values import Network, Source
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.downloader.adapters.engine import SourceFailed
from services.downloader.adapters.http import HttpFeed
from services.downloader.adapters.live_body import LiveBody
from services.downloader.adapters.network import Access
from tests.integration.test_downloader_engines import frames, programs, recording
from tests.studio import Studio
from tests.studio.listener import listener
from tests.studio.proxy import Proxy

COOKIE, HEADER, PASSWORD = "c00kie-s3cret", "h3ader-s3cret", "pr0xy-s3cret"
LOGIN = Login(
    domains=("127.0.0.1",),
    cookies={"SESSDATA": COOKIE},
    headers={"X-Token": HEADER},
    proxy_user="ann",
    proxy_password=PASSWORD,
)
REQUIRED = {"Cookie": COOKIE, "X-Token": HEADER, "Referer": "https://example.org/", "User-Agent": "Aircheck test"}
NETWORK = {"referer": "https://example.org/room", "user_agent": "Aircheck test", "account": "mine"}


@pytest.mark.parametrize("proxy_scheme", ["http", "socks5"])
@pytest.mark.parametrize(("engine", "kind"), [("native", "flv"), ("native", "ts"), ("ffmpeg", "flv"), ("ffmpeg", "ts")])
async def test_headers_and_login_go_through_a_proxy_and_show_nowhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], engine: str, kind: str, proxy_scheme: str
) -> None:
    async with Studio() as studio, Proxy("ann", PASSWORD) as proxy:
        await studio.put_on_air("1", required_headers=REQUIRED, formats=["flv", "ts"])
        url = studio.flv_url("1") if kind == "flv" else studio.hls_url("1", "ts")
        source = Source(url=url, protocol="flv" if kind == "flv" else "hls")
        network = Network(**NETWORK, proxy=proxy.url(proxy_scheme))
        async with recording(tmp_path / "files", source, login=LOGIN, engine=engine, network=network) as one:
            await one.media(1000)
            shown = [" ".join([*child.cmdline(), *child.environ().values()]) for child in programs()]
        assert proxy.targets
        assert proxy.refused == 0
    assert len(shown) == (engine == "ffmpeg")
    told = "".join([*shown, *capfd.readouterr(), repr(one.events), repr(one.ended), repr(LOGIN)])
    assert not [secret for secret in (COOKIE, HEADER, PASSWORD) if secret in told]
    assert frames(one.files[0]) > 5


async def test_rtmp_goes_through_a_proxy_too_and_a_wrong_password_is_said(tmp_path: Path) -> None:
    async with listener("rtmp") as url, Proxy("ann", PASSWORD) as proxy:
        source = Source(url=url, protocol="rtmp")
        network = Network(account="mine", proxy=proxy.url("socks5"))
        async with recording(tmp_path / "files", source, login=LOGIN, network=network) as one:
            await one.media(1000)
        async with recording(tmp_path / "none", source, login=Login(), network=network) as refused:
            await refused.until(lambda: proxy.refused > 0)
    assert frames(one.files[0]) > 5
    assert refused.files == []


async def test_a_login_goes_to_its_domains_only() -> None:
    seen: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        if request.path == "/away":
            raise web.HTTPFound(f"http://localhost:{request.url.port}/there")
        return web.Response(body=b"FLV")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with (
        _served(app) as port,
        _feed(Access(EgressPolicy(allow_private=True), login=LOGIN)) as feed,
        feed.open(Source(url=f"http://127.0.0.1:{port}/away", protocol="flv")) as chunks,
    ):
        assert [chunk async for chunk in chunks] == [b"FLV"]
    assert [("x-token" in one, "cookie" in one) for one in seen] == [(True, True), (False, False)]


@pytest.mark.parametrize("allowed", [False, True])
async def test_an_invalid_certificate_is_accepted_only_when_somebody_says_so(tmp_path: Path, allowed: bool) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"FLV")

    app = web.Application()
    app.router.add_get("/x.flv", answer)
    access = Access(EgressPolicy(allow_private=True), Network(allow_invalid_certificate=allowed))
    async with _served(app, _self_signed(tmp_path)) as port, _feed(access) as feed:
        source = Source(url=f"https://127.0.0.1:{port}/x.flv", protocol="flv")
        if allowed:
            async with feed.open(source) as chunks:
                assert [chunk async for chunk in chunks] == [b"FLV"]
        else:
            with pytest.raises(SourceFailed, match="Certificate"):
                async with feed.open(source):
                    pass


PIECES = [b"FLV", *(bytes([number]) * 40_000 for number in range(100))]
FRAMED = {
    "length": b"Content-Length: 4000003\r\n\r\n" + b"".join(PIECES),
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n" % len(piece) + piece + b"\r\n" for piece in [*PIECES, b""]),
    "closed": b"Connection: close\r\n\r\n" + b"".join(PIECES),
}


@pytest.mark.parametrize("proxy_scheme", ["", "http", "socks5"])
@pytest.mark.parametrize("framing", FRAMED)
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_body_is_taken_over_through_tls_and_tunnels(
    tmp_path: Path, proxy_scheme: str, framing: str, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + FRAMED[framing])
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=_self_signed(tmp_path))
        port = server.sockets[0].getsockname()[1]
        async with server, Proxy() as proxy:
            network = Network(allow_invalid_certificate=True, proxy=proxy.url(proxy_scheme) if proxy_scheme else "")
            source = Source(url=f"https://127.0.0.1:{port}/x.flv", protocol="flv")
            async with _feed(Access(EgressPolicy(allow_private=True), network)) as feed, feed.open(source) as chunks:
                assert isinstance(chunks, LiveBody)
                assert b"".join([chunk async for chunk in chunks]) == b"".join(PIECES)
            assert proxy.targets == ([("127.0.0.1", port)] if proxy_scheme else [])

    run(scenario())


async def test_the_family_of_addresses_is_kept_to() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"FLV")

    app = web.Application()
    app.router.add_get("/x.flv", answer)
    async with _served(app) as port:
        source = Source(url=f"http://127.0.0.1:{port}/x.flv", protocol="flv")
        async with (
            _feed(Access(EgressPolicy(allow_private=True), Network(ip_version="4"))) as feed,
            feed.open(source) as chunks,
        ):
            assert [chunk async for chunk in chunks] == [b"FLV"]
        named = source.model_copy(update={"url": f"http://localhost:{port}/x.flv"})
        async with _feed(Access(EgressPolicy(allow_private=True), Network(ip_version="6"))) as feed:
            with pytest.raises(SourceFailed):
                async with feed.open(named):
                    pass


class _feed:
    def __init__(self, access: Access) -> None:
        self._access = access

    async def __aenter__(self) -> HttpFeed:
        self._session: aiohttp.ClientSession = self._access.open_live_session()
        return HttpFeed(self._session, self._access)

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()


class _served:
    def __init__(self, app: web.Application, security: ssl.SSLContext | None = None) -> None:
        self._runner, self._security = web.AppRunner(app), security

    async def __aenter__(self) -> int:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._security).start()
        return int(self._runner.addresses[0][1])

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def _self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "both.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context

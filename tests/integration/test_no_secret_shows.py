"""A secret is planted wherever one can be, in every engine, and then looked for wherever somebody else could read it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import nats
import psutil
import pytest
from aiohttp import web
from chassis import provision
from chassis.ids import new_id
from chassis.secrets import SystemKey, new_system_key
from chassis.telemetry import new_metadata
from contracts import subjects
from contracts.config import CredentialTold, Secrets, TellCredential
from contracts.downloader import RecordingEnded, RecordingProgress, StartRecording, StopRecording
from contracts.envelope import wrap
from contracts.message import Command
from contracts.monitor import CheckChannel, SourcesResolved
from contracts.registry import load_vocabulary
from contracts.values import Effective, EndReason, Network, Source

from tests.deadline import DEADLINE_S
from tests.integration.downloader_rig import REPOSITORY
from tests.studio import Studio
from tests.studio.listener import listener
from tests.studio.proxy import Proxy

pytestmark = pytest.mark.engines

MARK = "s3cr3t"
"""Part of every secret of this test."""
QUERY, COOKIE, HEADER, OWN_HEADER, PASSWORD, KEY, PASSPHRASE = (
    f"{MARK}-{name}-0123456789" for name in ("query", "cookie", "header", "own", "proxy", "key", "passphrase")
)
SYSTEM_KEY = new_system_key()
LOGIN = Secrets(cookies={"SESSDATA": COOKIE}, headers={"X-Token": HEADER}, proxy_user="ann", proxy_password=PASSWORD)
REQUIRED = {"Cookie": COOKIE, "X-Token": HEADER}
HEADERS = {"X-Own": OWN_HEADER}


class World:
    """The rest of the system: says where media is, tells the credential, hears everything that is said on the bus."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.sources: dict[str, Source] = {}
        self.recorded_ms: dict[str, int] = {}
        self.ended: dict[str, RecordingEnded] = {}
        self.said: list[tuple[str, str]] = []
        self._news = asyncio.Event()

    async def listen(self) -> None:
        await self.client.subscribe(">", cb=self._hear)
        await self.client.flush()

    async def send(self, command: Command) -> None:
        envelope = wrap(command, id=new_id(), metadata=new_metadata(), source="scheduler")
        await self.client.publish(subjects.of(command), envelope.data, headers=envelope.to_headers())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def heard(self) -> None:
        """Until anything is said; progress is, every second."""
        self._news.clear()
        async with asyncio.timeout(DEADLINE_S):
            await self._news.wait()

    async def _hear(self, message: Any) -> None:
        if message.subject.startswith("sig.monitor."):
            return  # addresses of media travel there, and there alone
        self.said.append((message.subject, f"{message.headers} {message.data.decode('utf-8', 'replace')}"))
        if not message.headers or "ce-type" not in message.headers:
            return
        told = load_vocabulary().decode(message.headers["ce-type"], message.data)
        match told:
            case CheckChannel():
                await self._resolve(told.streamer_id)
            case TellCredential():
                sealed = SystemKey(SYSTEM_KEY).seal(LOGIN.model_dump_json())
                answer = CredentialTold(credential_id=told.credential_id, domains=("127.0.0.1",), sealed=sealed)
                await self._signal(answer, told.credential_id)
            case RecordingProgress():
                self.recorded_ms[told.recording_id] = told.duration_ms
            case RecordingEnded():
                self.ended[told.recording_id] = told
        self._news.set()

    async def _resolve(self, streamer: str) -> None:
        now = datetime.now(UTC).isoformat()
        told = SourcesResolved(streamer_id=streamer, live=True, sources=(self.sources[streamer],), resolved_at=now)
        await self._signal(told, streamer)

    async def _signal(self, told: Any, key: str) -> None:
        await self.client.publish(subjects.of(told), told.to_json(), headers={"ce-type": told.full_type()})


@asynccontextmanager
async def world(nats_url: str) -> AsyncIterator[World]:
    client = await nats.connect(nats_url, max_reconnect_attempts=-1)
    try:
        await provision.provision(client.jetstream(timeout=DEADLINE_S))
        one = World(client)
        await one.listen()
        yield one
    finally:
        await client.close()


@asynccontextmanager
async def downloader(nats_url: str, dsn: str, folder: Path, log: Path) -> AsyncIterator[psutil.Process]:
    """A replica that says all it can say, into a file."""
    environment = os.environ | {
        "DOWNLOADER_DATABASE_DSN": dsn,
        "DOWNLOADER_NATS_URL": nats_url,
        "DOWNLOADER_DATA_DIR": str(folder),
        "DOWNLOADER_ALLOW_PRIVATE_SOURCES": "true",
        "DOWNLOADER_MIN_FREE_MB": "0",
        "DOWNLOADER_WARN_FREE_MB": "0",
        "DOWNLOADER_SLOTS": "20",
        "DOWNLOADER_GIVE_UP_S": "3600",
        "DOWNLOADER_STALL_S": "8",
        "DOWNLOADER_CONNECT_TIMEOUT_S": "3",
        "DOWNLOADER_BREAKER_FAILURES": "1000",
        "DOWNLOADER_SECRET_KEY": SYSTEM_KEY,
        "DOWNLOADER_LOG_LEVEL": "DEBUG",
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.downloader", cwd=REPOSITORY, env=environment, stdout=output, stderr=output
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            await process.wait()


@asynccontextmanager
async def page(media: str) -> AsyncIterator[str]:
    """A page that shows a video to who is logged in."""

    async def show(request: web.Request) -> web.Response:
        if COOKIE not in request.headers.get("Cookie", ""):
            raise web.HTTPForbidden
        video = f'<source src="{media}" type="application/x-mpegURL">'
        return web.Response(text=f"<html><title>A page</title><video>{video}</video></html>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/watch", show)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/watch"
    finally:
        await runner.cleanup()


def shown(process: psutil.Process) -> list[str]:
    """What every user of the machine, or its owner, reads of the programs that a process has started, by program."""
    found = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            found.append(" ".join([*child.cmdline(), *map("=".join, child.environ().items())]))
    return found


async def stored(dsn: str) -> list[str]:
    """Every row of every table."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        rows = []
        for (table,) in tables:
            rows += [f"{table} {row[0]}" for row in await connection.fetch(f"SELECT one::text FROM {table} AS one")]
        return rows
    finally:
        await connection.close()


def lines_of(log: Path) -> list[str]:
    """The whole lines; the last one may still be written."""
    return log.read_bytes().rpartition(b"\n")[0].decode().splitlines()


def told_by(log: Path, event: str) -> list[dict[str, Any]]:
    """What the log says of one event."""
    return [json.loads(line) for line in lines_of(log) if f'"{event}"' in line]


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """An address where nobody listens, and nobody else can begin to."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def asked(name: str, source: Source, network: Network, url: str = "http://example.org/1001") -> StartRecording:
    """The command to record a source with the engine that its name begins with."""
    engine = name.split("_", maxsplit=1)[0]
    options = {"yt-dlp": {"player": "ffmpeg"}} if engine == "yt-dlp" else {}
    effective = Effective(engine=engine, engine_options=options, network=network, segment_seconds=0)
    return StartRecording(
        recording_id=name,
        session_id=f"s-{name}",
        streamer_id=name,
        streamer_name=name,
        url=url,
        platform="studio",
        title="a show",
        effective=effective,
    )


async def test_no_secret_shows_whoever_plays(nats_url: str, make_database: Callable[[], str], tmp_path: Path) -> None:
    dsn, log = make_database(), tmp_path / "log"
    with nobody() as closed:
        await _play_and_look(nats_url, dsn, log, tmp_path, closed)


async def _play_and_look(nats_url: str, dsn: str, log: Path, tmp_path: Path, closed: str) -> None:
    async with (
        world(nats_url) as outside,
        Studio() as studio,
        Proxy("ann", PASSWORD) as proxy,
        listener("rtmp", key=KEY) as rtmp,
        listener("srt", passphrase=PASSPHRASE) as srt,
        page(f"{studio.hls_url('1', 'ts')}?token={QUERY}") as watch,
        downloader(nats_url, dsn, tmp_path / "data", log) as process,
    ):
        await studio.put_on_air("1", required_headers=REQUIRED, formats=["flv", "ts"])
        await studio.create_room("9", required_headers=REQUIRED)
        through = Network(account="mine", proxy=proxy.url("http"))
        direct = Network(account="mine")
        flv, hls = (f"{url}?token={QUERY}" for url in (studio.flv_url("1"), studio.hls_url("1", "ts")))
        off_air = f"{studio.hls_url('9', 'ts')}?token={QUERY}"
        plays = {
            "native_flv": (Source(url=flv, protocol="flv", headers=HEADERS), through),
            "native_hls": (Source(url=hls, protocol="hls", headers=HEADERS), direct),
            "ffmpeg_hls": (Source(url=hls, protocol="hls", headers=HEADERS), through),
            "streamlink_hls": (Source(url=hls, protocol="hls", headers=HEADERS), through),
            "yt-dlp_page": (Source(url=watch, protocol="page"), direct),
            "native_rtmp": (Source(url=rtmp, protocol="rtmp"), through),
            "streamlink_srt": (Source(url=srt, protocol="srt"), direct),
        }
        fails = {
            "native_gone": (Source(url=off_air, protocol="hls", headers=HEADERS), through),
            "ffmpeg_gone": (Source(url=off_air, protocol="hls", headers=HEADERS), through),
            "streamlink_gone": (Source(url=off_air, protocol="hls", headers=HEADERS), through),
            "yt-dlp_gone": (Source(url=f"http://{closed}/watch", protocol="page"), through),
            "native_rtmp-gone": (Source(url=f"rtmp://{closed}/live/{KEY}", protocol="rtmp"), direct),
            "native_srt-gone": (Source(url=f"srt://{closed}?passphrase={PASSPHRASE}", protocol="srt"), direct),
        }
        for name, (source, network) in (plays | fails).items():
            outside.sources[name] = source
            await outside.send(
                asked(name, source, network, watch if source.protocol == "page" else "http://a.example/")
            )

        def all_at_work() -> bool:
            assert not outside.ended, outside.ended
            broken = {line.get("recording_id") for line in told_by(log, "capture.broke")}
            return fails.keys() <= broken and all(outside.recorded_ms.get(name, 0) > 500 for name in plays)

        def all_programs_run() -> bool:
            programs = [one.partition(" ")[0].rsplit("/")[-1] for one in running]
            return (
                sum(one.startswith("ffmpeg") for one in programs) >= 4  # hls, yt-dlp, rtmp, srt
                and any("foreign.streamlink" in one for one in running)
                and any("foreign.ytdlp" in one for one in seen)
            )

        seen: list[str] = []
        running: list[str] = []
        async with asyncio.timeout(2 * DEADLINE_S):
            while not (all_at_work() and all_programs_run()):
                await outside.heard()
                running = shown(process)
                seen += running
        port = told_by(log, "service.ready")[0]["health_port"]
        for name in (*plays, *fails):
            await outside.send(StopRecording(recording_id=name, reason=EndReason.STOPPED))
        await outside.until(lambda: outside.ended.keys() >= (plays | fails).keys())
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/metrics") as answer:
            metrics = await answer.text()
        rows = await stored(dsn)
    # each place was looked at while there was something to be seen
    assert any("native_rtmp" in row for row in rows)
    assert "aircheck" in metrics
    assert {"evt", "sig", "cmd"} <= {subject.partition(".")[0] for subject, _ in outside.said}
    places = {"programs": seen, "rows": rows, "metrics": metrics.splitlines()}
    places |= {"log": lines_of(log), "bus": [f"{subject} {text}" for subject, text in outside.said]}
    found = [f"{place}: {line}" for place, lines in places.items() for line in lines if MARK in line]
    assert not found, "\n".join(line[:600] for line in found[:20])

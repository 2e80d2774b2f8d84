"""What only yt-dlp or ffmpeg knows, from its address to the file: watched, recorded, and over when nothing comes any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from chassis.ids import new_id
from chassis.telemetry import new_metadata
from contracts import subjects
from contracts.config import StreamerResolved
from contracts.downloader import GapOpened, RecordingEnded, RecordingStarted
from contracts.envelope import Envelope, wrap
from contracts.monitor import ChannelFailed, SessionClosed, SessionOpened
from contracts.registry import load_vocabulary
from contracts.values import Effective, EndReason

from services.downloader.app import build as downloader
from services.monitor.app import build as monitor
from services.monitor.settings import MonitorSettings
from services.scheduler.app import build as scheduler
from services.scheduler.settings import SchedulerSettings
from tests.deadline import DEADLINE_S
from tests.integration.downloader_rig import STREAMER, Outside, check_files, outside, settings
from tests.integration.harness import eventually, running
from tests.studio import Studio
from tests.studio.listener import listener

pytestmark = pytest.mark.engines


class Watched:
    """Scheduler, monitor and downloader at work on one streamer; ``told`` is what the last two said."""

    def __init__(self, world: Outside) -> None:
        self.world, self.told = world, list[Any]()

    async def hear(self, message: Any) -> None:
        envelope = Envelope.from_headers(message.headers, message.data)
        self.told.append(load_vocabulary().decode(envelope.type, envelope.data))

    def of(self, cls: type) -> list[Any]:
        return [event for event in self.told if isinstance(event, cls)]

    async def some(self, cls: type) -> list[Any]:
        async def found() -> list[Any]:
            return self.of(cls)

        return list(await eventually(found, cls.__name__))


@asynccontextmanager
async def watching(
    url: str, nats_url: str, make_database: Callable[[], str], folder: Path, **effective: Any
) -> AsyncIterator[Watched]:
    """Watch an address as configured, and hear what comes of it."""
    common: dict[str, Any] = {"nats_url": nats_url}
    patient: dict[str, Any] = {"allow_private_sources": True, "probe_timeout_s": DEADLINE_S}
    wanted = Effective(check_interval_s=1, offline_grace_s=0, segment_seconds=0, **effective)
    streamer = StreamerResolved(
        streamer_id=STREAMER, url=url, name="Ann", platform="web", enabled=True, effective=wanted, provenance={}
    )
    async with outside(nats_url) as world:
        world.answers = False  # the monitor is a real one
        watched = Watched(world)
        for service in ("monitor", "downloader"):
            await world.client.subscribe(f"evt.{service}.>", cb=watched.hear)
        async with (
            running(scheduler(SchedulerSettings(database_dsn=make_database(), **common))),
            running(monitor(MonitorSettings(database_dsn=make_database(), **patient, **common))),
            running(downloader(settings(nats_url, make_database(), folder))),
        ):
            envelope = wrap(streamer, id=new_id(), metadata=new_metadata(), source="config", sequence=1)
            await world.client.jetstream().publish(
                subjects.of(streamer), envelope.data, headers=envelope.to_headers(), stream="EVENTS"
            )
            yield watched


@pytest.mark.parametrize(("engine", "end"), [("native", "off air"), ("yt-dlp", "removed")])
async def test_a_page_that_only_yt_dlp_knows_is_watched_and_recorded(
    engine: str, end: str, nats_url: str, make_database: Callable[[], str], tmp_path: Path
) -> None:
    async with Studio() as studio:
        await studio.put_on_air("1", "Night train")
        page = studio.plain_page_url("1")
        async with watching(page, nats_url, make_database, tmp_path, engine=engine) as watched:
            (opened,) = await watched.some(SessionOpened)
            assert (opened.title, opened.platform) == ("Night train", "generic")
            await watched.some(RecordingStarted)
            await watched.world.wait_for_media(2000)
            if end == "off air":
                await studio.put_off_air("1")
            else:
                studio.pages.gone.add("1")
            (closed,) = await watched.some(SessionClosed)
            await watched.some(RecordingEnded)
    assert closed.reason is EndReason.OFFLINE
    failures = [event.error for event in watched.of(ChannelFailed)]
    # A page that showed a broadcast is offline without one, not unknown; one that is not there any more is a failure besides.
    assert failures == {"off air": [], "removed": ["the site has no such page"]}[end]
    assert sum(file.duration_ms for file in check_files(watched.world)) > 1500
    assert "m3u8" not in repr(watched.told), "media addresses never enter events"


async def undisturbed(watched: Watched) -> None:
    """Until three more checks came while media was recorded; fails when one of them broke something."""
    await watched.some(RecordingStarted)
    await watched.world.wait_for_media(1000)
    checks = watched.world.checks

    async def checked_again() -> bool:
        return watched.world.checks >= checks + 3

    await eventually(checked_again, "three more checks")
    await watched.world.wait_for_media(1000)
    assert watched.of(GapOpened) == watched.of(SessionClosed) == []


async def test_an_address_with_room_for_one_viewer_is_watched_without_disturbing_its_recording(
    nats_url: str, make_database: Callable[[], str], tmp_path: Path
) -> None:
    async with listener("srt") as url, watching(url, nats_url, make_database, tmp_path) as watched:
        await undisturbed(watched)
    assert check_files(watched.world)


async def test_an_address_is_offline_when_its_publisher_has_left(
    nats_url: str, make_database: Callable[[], str], tmp_path: Path
) -> None:
    async with AsyncExitStack() as publishing:
        url = await publishing.enter_async_context(listener("rtmp"))
        async with watching(url, nats_url, make_database, tmp_path) as watched:
            await undisturbed(watched)
            await publishing.aclose()
            (closed,) = await watched.some(SessionClosed)
            (ended,) = await watched.some(RecordingEnded)
    assert closed.reason is EndReason.OFFLINE
    assert ended.reason in (EndReason.OFFLINE, EndReason.SOURCE_ENDED), ended
    assert check_files(watched.world)

"""A page that only yt-dlp knows, from its address to the file: watched, recorded, over when the page shows nothing any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chassis.ids import new_id
from chassis.telemetry import new_metadata
from contracts import subjects
from contracts.config import StreamerResolved
from contracts.downloader import RecordingEnded, RecordingStarted
from contracts.envelope import Envelope, wrap
from contracts.monitor import ChannelFailed, SessionClosed, SessionOpened
from contracts.registry import load_vocabulary
from contracts.values import Effective, EndReason

from services.downloader.app import build as downloader
from services.monitor.app import build as monitor
from services.monitor.settings import MonitorSettings
from services.scheduler.app import build as scheduler
from services.scheduler.settings import SchedulerSettings
from tests.integration.downloader_rig import STREAMER, check_files, outside, settings
from tests.integration.harness import eventually, running
from tests.studio import Studio

pytestmark = pytest.mark.engines


@pytest.mark.parametrize("engine", ["native", "yt-dlp"])
async def test_a_page_that_only_yt_dlp_knows_is_watched_and_recorded(
    engine: str, nats_url: str, make_database: Callable[[], str], tmp_path: Path
) -> None:
    told: list[Any] = []

    async def hear(message: Any) -> None:
        envelope = Envelope.from_headers(message.headers, message.data)
        told.append(load_vocabulary().decode(envelope.type, envelope.data))

    def of(cls: type) -> list[Any]:
        return [event for event in told if isinstance(event, cls)]

    async def some(cls: type) -> list[Any]:
        async def found() -> list[Any]:
            return of(cls)

        return list(await eventually(found, cls.__name__))

    common: dict[str, Any] = {"nats_url": nats_url}
    async with Studio() as studio, outside(nats_url) as world:
        world.answers = False  # the monitor is a real one
        await world.client.subscribe("evt.monitor.>", cb=hear)
        await world.client.subscribe("evt.downloader.>", cb=hear)
        page = studio.plain_page_url("1")
        await studio.put_on_air("1", "Night train")
        async with (
            running(scheduler(SchedulerSettings(database_dsn=make_database(), **common))),
            running(monitor(MonitorSettings(database_dsn=make_database(), allow_private_sources=True, **common))),
            running(downloader(settings(nats_url, make_database(), tmp_path))),
        ):
            effective = Effective(engine=engine, check_interval_s=1, offline_grace_s=0, segment_seconds=0)
            streamer = StreamerResolved(
                streamer_id=STREAMER,
                url=page,
                name="Ann",
                platform="web",
                enabled=True,
                effective=effective,
                provenance={},
            )
            envelope = wrap(streamer, id=new_id(), metadata=new_metadata(), source="config", sequence=1)
            await world.client.jetstream().publish(
                subjects.of(streamer), envelope.data, headers=envelope.to_headers(), stream="EVENTS"
            )
            (opened,) = await some(SessionOpened)
            assert (opened.title, opened.platform) == ("Night train", "generic")
            await some(RecordingStarted)
            await world.wait_for_media(2000)
            await studio.put_off_air("1")
            (closed,) = await some(SessionClosed)
            (ended,) = await some(RecordingEnded)
    assert closed.reason is EndReason.OFFLINE
    assert ended.reason in (EndReason.OFFLINE, EndReason.SOURCE_ENDED), ended
    assert of(ChannelFailed) == [], "a page that showed a broadcast is offline without one, not unknown"
    assert sum(file.duration_ms for file in check_files(world)) > 1500
    assert "m3u8" not in repr(told), "media addresses never enter events"

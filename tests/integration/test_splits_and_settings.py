"""What splits a running recording, from the scheduler's reaction to the files: another title, another configuration, the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from chassis.ids import new_id
from chassis.settings import ServiceSettings
from chassis.telemetry import new_metadata
from contracts import subjects
from contracts.config import StreamerResolved
from contracts.downloader import (
    CutRequested,
    RecordingEnded,
    RecordingReconfigured,
    RecordingRequested,
    SegmentCompleted,
    SegmentDiscarded,
    SegmentOpened,
)
from contracts.envelope import wrap
from contracts.message import Event
from contracts.monitor import ChannelTitleChanged, SessionClosed, SessionOpened
from contracts.values import Effective, EndReason

from services.downloader.app import build as downloader
from services.scheduler.app import build as scheduler
from services.scheduler.settings import SchedulerSettings
from tests.integration.downloader_rig import (
    SESSION,
    STREAMER,
    Outside,
    check_files,
    flv,
    outside,
    path_of,
    settings,
)
from tests.integration.harness import eventually, running
from tests.studio import Studio

pytestmark = pytest.mark.engines
CLOSED = SessionClosed(session_id=SESSION, streamer_id=STREAMER, reason=EndReason.OFFLINE)


async def say(world: Outside, event: Event) -> None:
    """An event of the monitor or the configuration."""
    envelope = wrap(event, id=new_id(), metadata=new_metadata(), source=event.service, sequence=1)
    await world.client.jetstream().publish(
        subjects.of(event), envelope.data, headers=envelope.to_headers(), stream="EVENTS"
    )


async def scheduler_is_idle(world: Outside) -> bool:
    """Whether it has handled everything that was said."""
    info = await world.client.jetstream().consumer_info("EVENTS", "scheduler")
    return not info.num_pending and not info.num_ack_pending


def resolved(**settings: Any) -> StreamerResolved:
    effective = Effective(
        **{"segment_seconds": 0, "file_template": "{streamer}/{title} {category} {index:02}", **settings}
    )
    return StreamerResolved(
        streamer_id=STREAMER,
        url="http://example.org/1",
        name="Ann",
        platform="studio",
        enabled=True,
        effective=effective,
        provenance={},
    )


@asynccontextmanager
async def recording(nats_url: str, dsn: str, folder: Path, **effective: Any) -> AsyncIterator[Outside]:
    """A broadcast that scheduler and downloader record as its settings say; it is over at the end."""
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        planner: ServiceSettings = SchedulerSettings(database_dsn=dsn, nats_url=nats_url)
        async with running(scheduler(planner)), running(downloader(settings(nats_url, dsn, folder))):  # type: ignore[arg-type]
            await say(world, resolved(**effective))
            # A session of a streamer that the scheduler does not know yet is not recorded: the monitor is asked to close it.
            await eventually(lambda: scheduler_is_idle(world))
            await say(
                world,
                SessionOpened(
                    session_id=SESSION,
                    streamer_id=STREAMER,
                    streamer_name="Ann",
                    url="http://example.org/1",
                    platform="studio",
                    title="first",
                    category="Talk",
                    started_at="2026-11-21T00:00:00+00:00",
                ),
            )
            await world.wait(SegmentOpened)
            await world.wait_for_media(1000)
            yield world
            await say(world, CLOSED)
            await world.wait(RecordingEnded)
        check_files(world)


def names(world: Outside) -> list[str]:
    return [path_of(event.artifact).stem for event in world.of(SegmentCompleted)]


def reasons(world: Outside) -> list[str]:
    return [event.split_reason for event in world.of(SegmentCompleted)]


async def test_another_title_begins_a_file_with_its_name(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    async with recording(nats_url, postgres_dsn, tmp_path, split_on=("title",)) as world:
        # when the category alone changes nothing is cut; when the title does, a file begins
        await say(world, ChannelTitleChanged(streamer_id=STREAMER, title="first", category="Games"))
        await say(world, ChannelTitleChanged(streamer_id=STREAMER, title="second", category="Games"))
        await world.wait(SegmentOpened, 2)
        await world.wait_for_media(1000)
    assert names(world) == ["first Talk 00", "second Games 01"]
    assert reasons(world) == ["title_change", "end"]
    (asked,) = world.of(CutRequested)
    assert (asked.cause, asked.title, asked.category) == ("title", "second", "Games")


async def test_a_new_configuration_holds_from_the_next_file_on(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with recording(nats_url, postgres_dsn, tmp_path) as world:
        # when something changes that no recording reads, nothing happens; when limits and names do, a file begins
        await say(world, resolved(check_interval_s=30))
        await say(
            world,
            resolved(segment_seconds=1, file_template="%Y {title} {index}", min_segment_bytes=1 << 29),
        )
        await world.wait(SegmentDiscarded, 2)
    (changed,) = world.of(RecordingReconfigured)
    assert changed.effective.segment_seconds == 1
    assert [type(event) for event in world.events[:1]] == [RecordingRequested]
    # then the file that was open keeps its name and its limits, and those after it have the new ones
    assert (names(world), reasons(world)) == (["first Talk 00"], ["settings_change"])
    assert "are less than 536870912" in world.of(SegmentDiscarded)[0].reason
    later = world.of(SegmentOpened)[1]
    assert later.uri.endswith(f"/{later.started_at[:4]}%20first%201.flv")


async def test_files_are_cut_by_the_clock(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    async with recording(nats_url, postgres_dsn, tmp_path, align_to_clock=True, segment_seconds=2) as world:
        await world.wait(SegmentOpened, 3)
    assert set(reasons(world)[:2]) == {"clock"}

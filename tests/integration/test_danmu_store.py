"""The cut points of a session, whatever order the news of them comes in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from chassis import migrate
from chassis.database import open_pool
from chassis.telemetry import new_metadata
from contracts.downloader import SegmentCompleted, SegmentDiscarded, SegmentOpened
from contracts.scheduler import ProcessCompleted, ProcessStopping, RecordingPlanned
from contracts.values import Artifact, Chat, Effective, EndReason, Network

import services.danmu
from services.danmu import store
from services.danmu.domain import Segment

pytestmark = pytest.mark.engines

META = new_metadata()
CHAT = Chat(kind="bilibili", descriptor={"room_id": 7})
SEGMENT: dict[str, Any] = {"recording_id": "r", "session_id": "s", "streamer_id": "a", "index": 0}
OPENED = SegmentOpened(**SEGMENT, uri="file:///v", start_ms=0, started_at="2026-01-01T00:00:00Z")
COMPLETED = SegmentCompleted(
    **SEGMENT,
    artifact=Artifact(uri="file:///v", media_type="video/x-flv", size=1),
    start_ms=0,
    duration_ms=500,
    started_at="2026-01-01T00:00:00Z",
    split_reason="size",
)
DISCARDED = SegmentDiscarded(**SEGMENT, reason="empty")
OVER = ProcessCompleted(session_id="s", streamer_id="a", recordings=("r",), segments=1)
PLANNED = RecordingPlanned(
    session_id="s",
    streamer_id="a",
    streamer_name="Ann",
    url="http://example.org/1",
    platform="bilibili",
    title="t",
    category="c",
    recording_id="r",
    effective=Effective(),
    chat=CHAT,
    started_at="2026-01-01T00:00:00Z",
)


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[Any]:
    pool = await open_pool(postgres_dsn, name="test")
    await migrate.migrate(pool, migrate.CHASSIS, Path(services.danmu.__file__).with_name("migrations"))
    async with pool.acquire() as connection:
        yield connection
    await pool.close()


async def plan(connection: Any) -> None:
    await store.save_plan(connection, PLANNED, CHAT, META, 50, 60)


async def segments(connection: Any) -> tuple[Segment, ...]:
    view = await store.load(connection, "s")
    assert view is not None
    return view.segments


async def test_a_plan_is_read_as_it_was_written(connection: Any) -> None:
    await plan(connection)
    await store.set_reason(connection, ProcessStopping(session_id="s", streamer_id="a", reason=EndReason.FILTERED))
    await store.set_over(connection, OVER, META, 99)
    view = await store.load(connection, "s")
    assert view is not None
    assert view.plan == store.Plan(
        "s", "a", "Ann", "bilibili", "t", "c", 50, CHAT, META, EndReason.FILTERED, store.Over(1, 99, META)
    )


async def test_a_plan_keeps_whose_account_the_chat_is_joined_with(connection: Any) -> None:
    effective = PLANNED.effective.model_copy(update={"network": Network(account="mine")})
    planned = PLANNED.model_copy(update={"effective": effective})
    await store.save_plan(connection, planned, CHAT, META, 50, 60)
    view = await store.load(connection, "s")
    assert view is not None and view.plan.account == "mine"


async def test_a_completion_that_overtakes_its_opening_stays(connection: Any) -> None:
    await store.close_segment(connection, COMPLETED, 1000, META, 1600)
    await plan(connection)
    await store.open_segment(connection, OPENED, 1000)
    assert await segments(connection) == (Segment("r", 0, 1000, ended_ms=1500, closed_ms=1600),)
    view = await store.load(connection, "s")
    assert view is not None and view.causes == {("r", 0): META}


async def test_a_segment_is_discarded_whether_its_opening_was_heard_of_or_not(connection: Any) -> None:
    await plan(connection)
    await store.discard_segment(connection, DISCARDED)
    await store.open_segment(connection, OPENED, 1000)
    assert [one.discarded for one in await segments(connection)] == [True]


async def test_a_cut_is_remembered(connection: Any) -> None:
    await plan(connection)
    await store.close_segment(connection, COMPLETED, 1000, META, 1600)
    (segment,) = await segments(connection)
    await store.cut(connection, "s", segment, 1500, b"state")
    assert [one.cut_ms for one in await segments(connection)] == [1500]
    assert await store.statistics(connection, "s") == b"state"
    await store.end(connection, "s")
    assert await store.statistics(connection, "s") is None


async def test_time_that_the_media_lost_makes_a_segment_end_later_than_it_is_long(connection: Any) -> None:
    await plan(connection)
    gap = {"kind": "gap", "at_ms": COMPLETED.start_ms + 300, "source_ms": 0, "amount": 9000, "lost_ms": 9000}
    await store.close_segment(connection, COMPLETED.model_copy(update={"repairs": (gap,)}), 1000, META, 1600)
    (segment,) = await segments(connection)
    assert segment.breaks == ((300, 9000),)
    assert segment.ended_ms == 1000 + COMPLETED.duration_ms + 9000


@pytest.mark.parametrize("news", ["open", "close", "discard", "reason", "over"])
async def test_every_news_is_to_be_looked_at(connection: Any, news: str) -> None:
    await plan(connection)
    before = (await store.revisions(connection, ["s", "other"]))["s"]
    match news:
        case "open":
            await store.open_segment(connection, OPENED, 1000)
        case "close":
            await store.close_segment(connection, COMPLETED, 1000, META, 1600)
        case "discard":
            await store.discard_segment(connection, DISCARDED)
        case "reason":
            await store.set_reason(connection, ProcessStopping(session_id="s", streamer_id="a", reason="stopped"))
        case "over":
            await store.set_over(connection, OVER, META, 99)
    assert await store.revisions(connection, ["s", "other"]) == {"s": before + 1}


async def test_after_the_end_nothing_is_kept_and_late_news_leave_no_row(connection: Any) -> None:
    await plan(connection)
    await store.open_segment(connection, OPENED, 1000)
    await store.end(connection, "s")
    await store.open_segment(connection, OPENED, 1000)
    await store.close_segment(connection, COMPLETED, 1000, META, 1600)
    await store.discard_segment(connection, DISCARDED)
    assert await store.load(connection, "s") is None
    assert await connection.fetchval("select count(*) from segments") == 0
    assert await store.ended(connection, ["s", "other"]) == {"s"}


async def test_a_session_without_chat_leaves_no_cut_points(connection: Any) -> None:
    await store.open_segment(connection, OPENED, 1000)
    await store.close_segment(connection, COMPLETED, 1000, META, 1600)
    await store.set_over(connection, OVER, META, 99)
    assert await connection.fetchval("select count(*) from segments") == 0

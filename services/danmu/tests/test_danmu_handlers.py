"""What the handlers do with a message, without a database."""

from __future__ import annotations

from typing import Any

import pytest
from chassis.errors import Poison
from chassis.eventlog import Loaded
from chassis.telemetry import new_metadata
from contracts.danmu import ChatEnded
from contracts.scheduler import RecordingPlanned
from contracts.values import Chat, Effective, EndReason

from services.danmu import handlers
from services.danmu.domain import CHAT
from services.danmu.store import QUERIES

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
    chat=Chat(kind="bilibili", descriptor={"room_id": 1}),
    started_at="2026-01-01T00:00:01Z",
)
ENDED = ChatEnded(session_id="s", streamer_id="a", reason=EndReason.OFFLINE, files=0, lines=0)


class FakeWork:
    """Notes what is written and offered."""

    def __init__(self, *history: Any) -> None:
        self.history, self.metadata, self.connection = history, new_metadata(), self
        self.written: list[tuple[str, tuple[Any, ...]]] = []
        self.offered: list[tuple[str, str]] = []

    async def load(self, aggregate: Any, id: str) -> Any:
        return Loaded(aggregate.stream(id), aggregate.fold(self.history), len(self.history))

    async def execute(self, query: str, *arguments: Any) -> None:
        self.written.append((query, arguments))

    async def offer(self, kind: str, name: str) -> None:
        self.offered.append((kind, name))


async def test_a_planned_session_with_chat_is_kept_and_offered() -> None:
    work = FakeWork()
    await handlers.on_recording_planned(PLANNED, work)  # type: ignore[arg-type]
    assert work.offered == [("chat", "chat:s")]
    ((query, arguments),) = work.written
    assert query == QUERIES["plan"]
    assert arguments[0] == "s" and arguments[6] == 1_767_225_601_000 and arguments[8] == {"room_id": 1}
    assert arguments[9] == work.metadata.to_dict()
    assert arguments[10:] == (None, None, False, None)


async def test_a_session_without_video_is_cut_by_time_from_the_moment_it_is_planned() -> None:
    work = FakeWork()
    before = handlers.now_ms()
    event = PLANNED.model_copy(
        update={"effective": Effective(record_video=False, segment_seconds=60, keep_raw_chat=True)}
    )
    await handlers.on_recording_planned(event, work)  # type: ignore[arg-type]
    (_, plan), (query, opened) = work.written
    assert plan[10:] == ("r", 60_000, True, None)
    assert query == QUERIES["open_segment"]
    assert opened[:3] == ("s", "r", 0) and before <= opened[3] <= handlers.now_ms()


@pytest.mark.parametrize("change", [{"chat": None}, {"effective": Effective(record_chat=False)}])
async def test_a_session_without_chat_leaves_no_trace(change: dict[str, Any]) -> None:
    work = FakeWork()
    await handlers.on_recording_planned(PLANNED.model_copy(update=change), work)  # type: ignore[arg-type]
    assert work.offered == [] and work.written == []


async def test_a_plan_that_comes_again_after_the_end_offers_nothing() -> None:
    work = FakeWork(ENDED)
    await handlers.on_recording_planned(PLANNED, work)  # type: ignore[arg-type]
    assert CHAT.fold([ENDED]).ended and work.offered == [] and work.written == []


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-01-01T00:00:00+00:00", 1_767_225_600_000),
        ("2026-01-01T01:00:00.250+01:00", 1_767_225_600_250),
        ("2026-01-01T00:00:00", 1_767_225_600_000),
    ],
)
def test_a_time_without_a_zone_is_utc(text: str, ms: int) -> None:
    assert handlers.unix_ms(text) == ms


def test_a_time_that_is_none_is_poison() -> None:
    with pytest.raises(Poison):
        handlers.unix_ms("yesterday")


def test_every_consumed_event_has_a_handler() -> None:
    assert handlers.handlers().missing() == []

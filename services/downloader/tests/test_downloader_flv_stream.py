"""What the FLV engine tells of a finished file."""

from datetime import UTC, datetime

from media.flv import recorder as flv
from media.repair import Repair, RepairKind

from libs.media.tests import flv_streams as samples
from services.downloader.adapters.engine import GapClosed, GapOpened, Gaps, SegmentCompleted, StartPoint, Take
from services.downloader.adapters.flv_stream import MAX_REPAIRS, FlvStream


def told(*repairs: Repair) -> tuple[dict, ...]:
    """The repairs of the event that a finished file with these repairs becomes."""
    events: list[object] = []
    start = StartPoint(0, 0, datetime(2026, 1, 1, tzinfo=UTC))
    take = Take(lambda index, extension: None, start, Gaps(events.append), events.append)
    engine = FlvStream(take, stall_s=30)
    engine._tell([flv.SegmentCompleted(0, 100, 1, 1, 1, flv.SplitReason.CUT, "", repairs)])
    (completed,) = [event for event in events if isinstance(event, SegmentCompleted)]
    return completed.repairs


def test_what_moves_media_is_told_each_with_the_time_it_lost_and_filler_as_a_sum():
    gap = Repair(RepairKind.GAP, 7, 2000, 500, "x" * 300, lost_ms=400)
    fillers = [Repair(RepairKind.FILLER, None, 1000 + n, 10) for n in range(100)]
    assert told(*fillers[:50], gap, *fillers[50:]) == (
        {"kind": "gap", "at_ms": 2000, "source_ms": 7, "amount": 500, "lost_ms": 400, "count": 1, "detail": "x" * 200},
        {
            "kind": "filler",
            "at_ms": 1000,
            "source_ms": None,
            "amount": 1000,
            "lost_ms": 0,
            "count": 100,
            "detail": "",
        },
    )


def test_an_event_never_carries_more_than_the_bus_takes_and_loses_no_time():
    jumps = [Repair(RepairKind.TIMESTAMP_JUMP, n, n, 1, lost_ms=2) for n in range(MAX_REPAIRS + 5)]
    repairs = told(*jumps, *[Repair(RepairKind.JUNK, None, 0, 1)] * 7)
    assert len(repairs) <= MAX_REPAIRS + 1
    assert sum(repair["lost_ms"] for repair in repairs) == 2 * (MAX_REPAIRS + 5)
    assert sum(repair["count"] for repair in repairs) == MAX_REPAIRS + 5 + 7


async def test_a_break_before_a_group_was_whole_is_a_gap_of_its_own():
    events: list[object] = []
    gaps = Gaps(events.append)
    take = Take(lambda index, extension: samples.MemoryFile(), StartPoint(), gaps, events.append)
    engine = FlvStream(take, stall_s=30)
    # given a recording that broke, and a connection that broke again in the middle of its first group of pictures
    engine.connected()
    await engine.feed(samples.stream(*samples.gops(0, range(4))))
    gaps.open(engine.here.position_ms, "first")
    engine.connected()
    await engine.feed(samples.stream(*samples.gop(4_000, 90)[:20]))
    gaps.open(engine.here.position_ms, "second")
    # when the third one goes on
    engine.connected()
    await engine.feed(samples.stream(*samples.gops(10_000, range(100, 104))))
    await engine.finish()
    # then both breaks are told, each with its cause and what is missing
    told = [event for event in events if isinstance(event, GapOpened | GapClosed)]
    assert [type(event) for event in told] == [GapOpened, GapClosed] * 2
    assert [event.cause for event in told if isinstance(event, GapOpened)] == ["first", "second"]
    first, second = [event.lost_ms for event in told if isinstance(event, GapClosed)]
    assert (abs(first - 2_400) < 50, abs(second - 5_700) < 100) == (True, True)


async def test_unreadable_bytes_that_cost_media_are_a_gap_that_is_over_already_and_not_one_a_second():
    events: list[object] = []
    take = Take(lambda index, extension: samples.MemoryFile(), StartPoint(), Gaps(events.append), events.append)
    engine = FlvStream(take, stall_s=30)
    # given a line that loses a second of every two, for as long as two tellings are apart and a little more
    engine.connected()
    await engine.feed(samples.stream())
    for second in range(0, 32, 2):
        tags = samples.gops(second * 1000, range(10 * second, 10 * second + 3), length=333, frames=8)
        await engine.feed(b"".join(map(samples.raw, tags)) + b"\x55" * 1000)
    # when it is over
    await engine.finish()
    # then nothing is missing from what was told, in few events
    told = [event for event in events if isinstance(event, GapOpened | GapClosed)]
    assert [type(event) for event in told] == [GapOpened, GapClosed] * 3
    lost = [event.lost_ms for event in told if isinstance(event, GapClosed)]
    assert abs(sum(lost) - 15_000) < 800
    causes = [event.cause for event in told if isinstance(event, GapOpened)]
    assert causes[0] == "1000 bytes of the stream could not be read"

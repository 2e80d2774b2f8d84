from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from media.hls import (
    Assembler,
    AssemblerOptions,
    Discontinuity,
    GapPolicy,
    GapReason,
    GapTask,
    Init,
    InitSection,
    Media,
    MissingMedia,
    PlanCursor,
    SegmentTask,
    StreamItem,
)

INIT = InitSection("https://x.example/init.mp4")


def task(order: int, *, init: InitSection | None = None, discontinuity: bool = False) -> SegmentTask:
    return SegmentTask(
        order, 100 + order, f"{order}", 2.0, PlanCursor(100 + order, f"{order}"), init=init, discontinuity=discontinuity
    )


def shape(items: Iterable[StreamItem]) -> list[object]:
    """Media as their order, the rest as it is."""
    return [item.task.order if isinstance(item, Media) else item for item in items]


def missing(order: int, reason: GapReason) -> MissingMedia:
    return MissingMedia(100 + order, 100 + order, 2000, reason)


def test_downloads_come_out_in_the_order_of_the_plan() -> None:
    assembler = Assembler()
    assembler.plan([task(0), task(1), task(2)], 0.0)

    assert assembler.completed(task(2), b"cc", 0.0) == []
    assert assembler.completed(task(1), b"bb", 0.0) == []
    assert assembler.buffered_bytes == 4
    assert shape(assembler.completed(task(0), b"a", 0.0)) == [0, 1, 2]
    assert (assembler.buffered_bytes, assembler.outstanding, assembler.deadline) == (0, 0, None)


def test_a_failed_download_is_a_gap_at_its_place() -> None:
    assembler = Assembler()
    assembler.plan([task(0), task(1)], 0.0)

    assert assembler.failed(task(1), 0.0) == []
    assert shape(assembler.completed(task(0), b"a", 0.0)) == [0, missing(1, GapReason.FAILED)]


def test_planned_gaps_and_discontinuities_pass_in_place() -> None:
    assembler = Assembler()
    gap = GapTask(1, 101, 105, 10.0, GapReason.SLID_OUT)

    released = assembler.plan([task(0), gap, task(2, discontinuity=True)], 0.0)
    released += assembler.completed(task(2), b"c", 0.0)
    released += assembler.completed(task(0), b"a", 0.0)

    assert shape(released) == [0, MissingMedia(101, 105, 10_000, GapReason.SLID_OUT), Discontinuity(), 2]


def test_media_wait_for_their_init_and_it_comes_once() -> None:
    assembler = Assembler()
    first, second = task(0, init=INIT), task(1, init=INIT)
    assembler.plan([first, second], 0.0)

    assert assembler.needs_init(first) == INIT
    assert assembler.completed(first, b"a", 0.0) == []
    released = assembler.init_completed(INIT, b"init", 0.0)
    assert assembler.needs_init(second) is None
    released += assembler.completed(second, b"b", 0.0)

    assert released == [Init(INIT, b"init"), Media(first, b"a"), Media(second, b"b")]


def test_an_init_that_cannot_be_had_loses_what_waits_and_is_asked_for_again() -> None:
    assembler = Assembler()
    first, second = task(0, init=INIT), task(1, init=INIT)
    assembler.plan([first, second], 0.0)
    assembler.completed(first, b"a", 0.0)

    assert assembler.init_failed(INIT, 0.0) == [missing(0, GapReason.FAILED)]
    assert assembler.needs_init(second) == INIT
    assembler.init_completed(INIT, b"init", 0.0)
    assert shape(assembler.completed(second, b"b", 0.0)) == [Init(INIT, b"init"), 1]


def test_skip_by_count() -> None:
    assembler = Assembler(AssemblerOptions(GapPolicy(skip_after_count=2, skip_after_seconds=None)))
    assembler.plan([task(0), task(1), task(2)], 0.0)

    assert assembler.completed(task(1), b"b", 0.0) == []
    assert assembler.deadline is None
    assert shape(assembler.completed(task(2), b"c", 99.0)) == [missing(0, GapReason.SKIPPED), 1, 2]
    assert assembler.completed(task(0), b"late", 99.0) == []  # was given up: not written after its successors


def test_skip_by_time_counts_from_when_something_waits() -> None:
    assembler = Assembler(AssemblerOptions(GapPolicy(skip_after_count=None, skip_after_seconds=5.0)))
    assembler.plan([task(0), task(1)], 0.0)

    assert assembler.poll(60.0) == []  # nothing is held up: the live edge is just slow
    assembler.completed(task(1), b"b", 61.0)
    assert assembler.deadline == 66.0
    assert assembler.poll(65.9) == []
    assert shape(assembler.poll(66.0)) == [missing(0, GapReason.SKIPPED), 1]


def test_waiting_policy_waits() -> None:
    assembler = Assembler(AssemblerOptions(GapPolicy.wait()))
    assembler.plan(map(task, range(100)), 0.0)

    for order in range(1, 100):
        assert assembler.completed(task(order), b"x", 1e6) == []
    assert shape(assembler.completed(task(0), b"x", 1e6)) == list(range(100))


def test_a_full_buffer_moves_on_whatever_the_policy_says() -> None:
    assembler = Assembler(AssemblerOptions(GapPolicy.wait(), max_bytes=10))
    assembler.plan([task(0), task(1), task(2)], 0.0)

    assembler.completed(task(1), b"12345", 0.0)
    released = assembler.completed(task(2), b"123456", 0.0)

    assert shape(released) == [missing(0, GapReason.OVER_BUDGET), 1, 2]
    assert assembler.buffered_bytes == 0


def test_finish_turns_what_is_missing_before_what_is_here_into_gaps() -> None:
    assembler = Assembler(AssemblerOptions(GapPolicy.wait()))
    assembler.plan([task(0), task(1), task(2, init=INIT), task(3)], 0.0)
    assembler.completed(task(1), b"b", 0.0)
    assembler.completed(task(2), b"c", 0.0)
    assembler.completed(task(3), b"d", 0.0)

    assert shape(assembler.finish(0.0)) == [missing(0, GapReason.SKIPPED), 1, missing(2, GapReason.SKIPPED), 3]
    assert (assembler.finish(0.0), assembler.buffered_bytes) == ([], 0)


def test_what_is_on_its_way_behind_the_end_is_no_gap() -> None:
    assembler = Assembler(AssemblerOptions(GapPolicy.wait()))
    assembler.plan([task(0), task(1), task(2, discontinuity=True), task(3, init=INIT)], 0.0)
    assembler.completed(task(0), b"a", 0.0)
    assembler.completed(task(3), b"d", 0.0)

    assert shape(assembler.finish(0.0)) == []
    assert (assembler.finish(0.0), assembler.outstanding, assembler.buffered_bytes) == ([], 0, 0)


def test_what_cannot_be_had_at_the_end_is_a_gap_all_the_same() -> None:
    assembler = Assembler(AssemblerOptions(GapPolicy.wait()))
    assembler.plan([task(0), task(1), task(2)], 0.0)
    assembler.completed(task(0), b"a", 0.0)
    assembler.failed(task(2), 0.0)

    assert shape(assembler.finish(0.0)) == [missing(1, GapReason.SKIPPED), missing(2, GapReason.FAILED)]


def test_retained_inits_are_bounded_but_never_one_that_is_awaited() -> None:
    assembler = Assembler(AssemblerOptions(max_inits=2))
    sections = [InitSection(f"https://x.example/{number}") for number in range(5)]
    tasks = [task(number, init=section) for number, section in enumerate(sections)]
    assembler.plan(tasks, 0.0)
    for section in sections:
        assembler.init_completed(section, section.uri.encode(), 0.0)

    assert [assembler.needs_init(each) for each in tasks] == [None] * 5
    for each in tasks:
        assert [item.data for item in assembler.completed(each, b"x", 0.0) if isinstance(item, Init)] == [
            (each.init or INIT).uri.encode()
        ]
    assembler.init_completed(INIT, b"", 0.0)
    assert sum(assembler.needs_init(each) is None for each in tasks) == 1


def test_what_came_out_is_not_kept() -> None:
    assembler = Assembler()
    tracemalloc.start()
    try:
        for order in range(50):
            assembler.plan([task(order)], 0.0)
            assembler.completed(task(order), bytes(1_000_000), 0.0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < 5_000_000


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_planned_segment_comes_out_exactly_once_in_order_up_to_the_end(data: st.DataObject) -> None:
    policy = GapPolicy(
        data.draw(st.one_of(st.none(), st.integers(1, 5))), data.draw(st.one_of(st.none(), st.floats(0.1, 5)))
    )
    max_bytes = data.draw(st.integers(1, 50))
    assembler = Assembler(AssemblerOptions(policy, max_bytes=max_bytes, max_items=4))
    tasks = [
        task(order, init=data.draw(st.sampled_from([None, INIT]))) for order in range(data.draw(st.integers(0, 12)))
    ]
    released: list[StreamItem] = []
    unplanned = list(tasks)
    now = 0.0
    for _ in range(3 * len(tasks)):
        now += data.draw(st.floats(0, 3))
        count = data.draw(st.integers(0, 3))
        released += assembler.plan(unplanned[:count], now)
        unplanned = unplanned[count:]
        if tasks:  # also segments that are not planned yet, or that are resolved already
            chosen = data.draw(st.sampled_from(tasks))
            verb = data.draw(st.sampled_from(["completed", "failed", "init", "init_failed", "poll"]))
            if verb == "completed":
                released += assembler.completed(chosen, b"x" * data.draw(st.integers(0, 20)), now)
            elif verb == "failed":
                released += assembler.failed(chosen, now)
            elif verb == "init":
                released += assembler.init_completed(INIT, b"i", now)
            elif verb == "init_failed":
                released += assembler.init_failed(INIT, now)
            else:
                released += assembler.poll(now)
            assert assembler.buffered_bytes <= max_bytes
    released += assembler.plan(unplanned, now)
    unreadable = {one.order for one in tasks if assembler.wants(one) or assembler.needs_init(one) is not None}
    released += assembler.finish(now)

    sequence = [
        item.task.sequence if isinstance(item, Media) else item.first_sequence
        for item in released
        if isinstance(item, Media | MissingMedia)
    ]
    assert sequence == [100 + order for order in range(len(sequence))]
    assert {one.order for one in tasks[len(sequence) :]} <= unreadable
    assert (assembler.outstanding, assembler.buffered_bytes) == (0, 0)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media.hls import (
    ByteRange,
    GapReason,
    GapTask,
    HlsPlanner,
    InitSection,
    KeyRef,
    PlanItem,
    PlannerOptions,
    PlaylistError,
    PlaylistRequest,
    SegmentTask,
    UnsupportedPlaylistError,
)

URL = "https://cdn.example/live/index.m3u8"


def playlist(first: int, names: Sequence[str], *head: str, end: bool = False, target: int = 2) -> str:
    """A window whose entries are URLs, or tags where they begin with ``#``."""
    lines = ["#EXTM3U", f"#EXT-X-TARGETDURATION:{target}", f"#EXT-X-MEDIA-SEQUENCE:{first}", *head]
    for name in names:
        lines += [name] if name.startswith("#") else [f"#EXTINF:{target},", name]
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if end else [])])


def window(first: int, count: int, suffix: str = "", *, name: str = "s", dated: datetime | None = None) -> str:
    head = [f"#EXT-X-PROGRAM-DATE-TIME:{(dated + timedelta(seconds=2 * first)).isoformat()}"] if dated else []
    return playlist(first, [f"{name}{number}.ts{suffix}" for number in range(first, first + count)], *head)


def sequences(items: Sequence[PlanItem]) -> list[int]:
    return [item.sequence for item in items if isinstance(item, SegmentTask)]


def gaps(items: Sequence[PlanItem]) -> list[tuple[int, int, GapReason]]:
    return [(item.first_sequence, item.last_sequence, item.reason) for item in items if isinstance(item, GapTask)]


def tasks(items: Sequence[PlanItem]) -> list[SegmentTask]:
    return [item for item in items if isinstance(item, SegmentTask)]


# Following a window


def test_only_new_segments_are_planned() -> None:
    planner = HlsPlanner()

    assert sequences(planner.update(window(5, 3), URL, 0.0)) == [5, 6, 7]
    assert planner.update(window(5, 3), URL, 2.0) == []
    later = planner.update(window(7, 3), URL, 4.0)
    assert sequences(later) == [8, 9]
    assert [task.order for task in tasks(later)] == [3, 4]
    assert tasks(later)[0].url == "https://cdn.example/live/s8.ts"


def test_a_rotated_token_is_the_same_segment_and_serves_retries() -> None:
    planner = HlsPlanner()
    (first, *_) = tasks(planner.update(window(5, 3, "?token=a"), URL, 0.0))

    assert planner.update(window(5, 3, "?token=b"), URL, 2.0) == []
    assert planner.refreshed(first).url == "https://cdn.example/live/s5.ts?token=b"
    assert planner.refreshed(first).order == first.order


def test_a_retry_never_takes_the_url_of_another_numbering() -> None:
    planner = HlsPlanner()
    old = tasks(planner.update(window(0, 3, name="before-"), URL, 0.0))[0]
    planner.update(window(0, 3, name="after-"), URL, 2.0)

    assert planner.refreshed(old) == old


def test_tokens_in_the_path_are_no_part_of_the_identity() -> None:
    def signed(first: int, token: str) -> str:
        return playlist(first, [f"hdntl=exp={token}~hmac=ab/{number}/media.ts" for number in range(first, first + 3)])

    planner = HlsPlanner()
    planner.update(signed(5, "1"), URL, 0.0)

    assert sequences(planner.update(signed(6, "2"), URL, 2.0)) == [8]


@pytest.mark.parametrize(
    "rotated",
    [
        "?unheard-of=2",  # a token under a name that nobody knows
        "?a=1&token=zzz",
    ],
)
def test_unknown_tokens_in_the_query_are_recognised_by_the_file_names(rotated: str) -> None:
    planner = HlsPlanner()
    planner.update(window(5, 3, "?unheard-of=1"), URL, 0.0)

    assert sequences(planner.update(window(6, 3, rotated), URL, 2.0)) == [8]


def test_another_host_and_another_folder_serve_the_same_segments() -> None:
    planner = HlsPlanner()
    planner.update(window(5, 3), "https://a.example/edge-1/index.m3u8", 0.0)

    assert sequences(planner.update(window(6, 3), "https://b.example/edge-2/index.m3u8", 2.0)) == [8]


def test_what_left_the_window_unseen_is_a_gap() -> None:
    planner = HlsPlanner()
    planner.update(window(5, 3), URL, 0.0)

    items = planner.update(window(12, 3), URL, 20.0)

    assert gaps(items) == [(8, 11, GapReason.SLID_OUT)]
    assert isinstance(items[0], GapTask)
    assert (items[0].order, items[0].duration) == (3, 8.0)
    assert sequences(items) == [12, 13, 14]


def test_a_lagging_cache_is_ignored() -> None:
    planner = HlsPlanner()
    planner.update(window(50, 5), URL, 0.0)

    assert planner.update(window(45, 5), URL, 2.0) == []
    assert sequences(planner.update(window(51, 5), URL, 4.0)) == [55]


def test_a_numbering_that_starts_over_is_followed_with_a_discontinuity() -> None:
    planner = HlsPlanner()
    planner.update(window(500, 3), URL, 0.0)

    items = planner.update(window(0, 3, name="new"), URL, 2.0)

    assert sequences(items) == [0, 1, 2]
    assert [task.discontinuity for task in tasks(items)] == [True, False, False]
    assert [task.order for task in tasks(items)] == [3, 4, 5]
    assert sequences(planner.update(window(1, 3, name="new"), URL, 4.0)) == [3]


def test_the_same_numbers_with_other_segments_are_a_restart() -> None:
    planner = HlsPlanner()
    planner.update(window(0, 4, name="before-"), URL, 0.0)

    items = planner.update(window(0, 3, name="after-"), URL, 2.0)

    assert sequences(items) == [0, 1, 2]
    assert tasks(items)[0].discontinuity


def test_the_same_segments_under_other_numbers_are_not_planned_again() -> None:
    planner = HlsPlanner()
    planner.update(window(100, 5), URL, 0.0)

    renumbered = playlist(7, [f"s{number}.ts" for number in range(102, 107)])
    items = planner.update(renumbered, URL, 2.0)

    assert [task.url.rpartition("/")[2] for task in tasks(items)] == ["s105.ts", "s106.ts"]
    assert sequences(items) == [105, 106]
    assert not any(task.discontinuity for task in tasks(items))
    assert [task.cursor.sequence for task in tasks(items)] == [10, 11]


def test_a_restart_under_the_same_names_is_seen_by_its_dates() -> None:
    planner = HlsPlanner()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for first in range(40):
        planner.update(window(first, 5, dated=start), URL, 2.0 * first)

    items = planner.update(window(0, 5, dated=start + timedelta(hours=1)), URL, 90.0)

    assert sequences(items) == [0, 1, 2, 3, 4]


def test_an_old_copy_with_the_same_dates_is_ignored_however_old() -> None:
    planner = HlsPlanner()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for first in range(40):
        planner.update(window(first, 5, dated=start), URL, 2.0 * first)

    assert planner.update(window(0, 5, dated=start), URL, 90.0) == []
    assert planner.update(window(1, 5, dated=start), URL, 92.0) == []


def test_without_dates_an_old_copy_stands_still_and_a_restart_moves_on() -> None:
    planner = HlsPlanner()
    for first in range(40):
        planner.update(window(first, 5), URL, 2.0 * first)

    assert planner.update(window(0, 5), URL, 90.0) == []
    assert planner.update(window(0, 5), URL, 92.0) == []
    assert sequences(planner.update(window(1, 5), URL, 94.0)) == [1, 2, 3, 4, 5]


def test_a_jump_that_no_time_explains_is_another_numbering_not_a_loss() -> None:
    planner = HlsPlanner()
    planner.update(window(5, 3), URL, 0.0)

    items = planner.update(window(1_700_000_000, 3, name="epoch"), URL, 2.0)

    assert gaps(items) == []
    assert tasks(items)[0].discontinuity


def test_an_empty_window_is_no_restart() -> None:
    planner = HlsPlanner()
    planner.update(window(50, 3), URL, 0.0)

    assert planner.update(window(0, 0), URL, 2.0) == []
    assert sequences(planner.update(window(51, 3), URL, 4.0)) == [53]


def test_names_that_come_round_again_are_other_segments() -> None:
    planner = HlsPlanner()
    planned = []
    for first in range(0, 30, 2):
        names = [f"s{number % 6}.ts" for number in range(first, first + 4)]
        planned += sequences(planner.update(playlist(first, names), URL, 4.0 * first))

    assert planned == list(range(32))


def test_end() -> None:
    planner = HlsPlanner()
    planner.update(window(5, 3), URL, 0.0)
    assert not planner.ended

    items = planner.update(playlist(6, ["s6.ts", "s7.ts", "s8.ts"], end=True), URL, 2.0)

    assert sequences(items) == [8]
    assert planner.ended
    assert planner.next_request(2.0) is None


def test_the_end_counts_even_when_announced_segments_were_withdrawn() -> None:
    planner = HlsPlanner()
    planner.update(playlist(5, ["s5.ts", "#EXT-X-TWITCH-PREFETCH:s6.ts"]), URL, 0.0)

    assert planner.update(playlist(5, ["s5.ts"], end=True), URL, 2.0) == []
    assert planner.ended


def test_a_live_recording_can_begin_at_the_edge_and_one_on_demand_never_does() -> None:
    options = PlannerOptions(initial_segments=2)

    assert sequences(HlsPlanner(options).update(window(5, 6), URL, 0.0)) == [9, 10]
    assert sequences(HlsPlanner(options).update(playlist(5, ["a", "b", "c"], end=True), URL, 0.0)) == [5, 6, 7]
    event = playlist(5, ["a", "b", "c"], "#EXT-X-PLAYLIST-TYPE:EVENT")
    assert sequences(HlsPlanner(options).update(event, URL, 0.0)) == [6, 7]


def test_what_cannot_be_followed_leaves_the_plan_as_it_was() -> None:
    planner = HlsPlanner()
    planner.update(window(5, 3), URL, 0.0)

    for text in (
        "<html>",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx.m3u8",
        playlist(6, ["s6.ts", '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"', "s7.ts", "s8.ts"]),
    ):
        with pytest.raises(PlaylistError):
            planner.update(text, URL, 2.0)

    assert sequences(planner.update(window(6, 3), URL, 4.0)) == [8]


# Content of tasks


def test_tasks_carry_ranges_inits_keys_and_dates() -> None:
    text = playlist(
        258,
        [
            '#EXT-X-KEY:METHOD=AES-128,URI="key",IV=0x000000000000000000000000000000ff',
            '#EXT-X-MAP:URI="init.mp4",BYTERANGE="500@10"',
            "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z",
            "#EXT-X-BYTERANGE:100@0",
            "all.mp4",
            '#EXT-X-KEY:METHOD=AES-128,URI="key2"',
            "#EXT-X-DISCONTINUITY",
            "#EXT-X-BYTERANGE:200",
            "all.mp4",
        ],
    )

    first, second = tasks(HlsPlanner().update(text, URL, 0.0))

    base = "https://cdn.example/live/"
    explicit = KeyRef(base + "key", b"\x00" * 15 + b"\xff")
    assert (first.key, first.byte_range) == (explicit, ByteRange(0, 100))
    assert first.init == second.init == InitSection(base + "init.mp4", ByteRange(10, 500), explicit)
    assert second.key == KeyRef(base + "key2", (259).to_bytes(16, "big"))
    assert (second.byte_range, second.discontinuity, first.discontinuity) == (ByteRange(100, 200), True, False)
    assert first.program_date_time == datetime(2026, 1, 1, tzinfo=UTC)


def test_byte_ranges_without_offset_continue_over_refreshes() -> None:
    planner = HlsPlanner()
    planner.update(playlist(0, ["#EXT-X-BYTERANGE:100@0", "all.ts", "#EXT-X-BYTERANGE:50", "all.ts"]), URL, 0.0)

    items = planner.update(playlist(1, ["#EXT-X-BYTERANGE:50", "all.ts", "#EXT-X-BYTERANGE:70", "all.ts"]), URL, 2.0)

    assert [task.byte_range for task in tasks(items)] == [ByteRange(150, 70)]


def test_an_encrypted_init_needs_its_own_vector() -> None:
    text = playlist(0, ['#EXT-X-KEY:METHOD=AES-128,URI="key"', '#EXT-X-MAP:URI="init.mp4"', "a.m4s"])

    with pytest.raises(UnsupportedPlaylistError, match="IV"):
        HlsPlanner().update(text, URL, 0.0)


def test_a_discontinuity_that_left_the_window_unseen_still_counts() -> None:
    planner = HlsPlanner()
    planner.update(playlist(0, ["a", "b"], "#EXT-X-DISCONTINUITY-SEQUENCE:4"), URL, 0.0)

    items = planner.update(playlist(5, ["f", "g"], "#EXT-X-DISCONTINUITY-SEQUENCE:5"), URL, 20.0)

    assert [task.discontinuity for task in tasks(items)] == [True, False]


def test_advertising_is_left_out_and_told() -> None:
    ad = '#EXT-X-DATERANGE:ID="stitched-ad-1",START-DATE="2026-01-01T00:00:02Z",DURATION=4'
    text = playlist(5, ["a.ts", "b.ts", "c.ts", "d.ts"], ad, "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00Z")

    items = HlsPlanner().update(text, URL, 0.0)

    assert gaps(items) == [(6, 7, GapReason.AD)]
    assert [(task.sequence, task.discontinuity) for task in tasks(items)] == [(5, False), (8, True)]
    assert sequences(HlsPlanner(PlannerOptions(skip_ads=False)).update(text, URL, 0.0)) == [5, 6, 7, 8]


def test_gaps_and_placeholders_of_the_source_are_told() -> None:
    text = playlist(0, ["a.ts", "#EXT-X-GAP", "b.ts", "preloading-1.ts", "c.ts", "preloading/d.ts?preloading=1"])

    items = HlsPlanner().update(text, URL, 0.0)

    assert gaps(items) == [(1, 2, GapReason.SOURCE)]
    assert sequences(items) == [0, 3, 4]
    assert sequences(HlsPlanner(PlannerOptions(placeholders=())).update(text, URL, 0.0)) == [0, 2, 3, 4]


def test_prefetched_segments_are_planned_once() -> None:
    planner = HlsPlanner()
    first = playlist(5, ["s5.ts", "#EXT-X-TWITCH-PREFETCH:pre6.ts", "#EXT-X-TWITCH-PREFETCH:pre7.ts"])

    assert sequences(planner.update(first, URL, 0.0)) == [5, 6, 7]
    assert sequences(planner.update(window(5, 4), URL, 2.0)) == [8]
    assert sequences(HlsPlanner(PlannerOptions(prefetch=False)).update(first, URL, 0.0)) == [5]


# Low latency


def part(name: str, *, gap: bool = False) -> str:
    return f'#EXT-X-PART:DURATION=0.5,URI="{name}"' + (",GAP=YES" if gap else "")


LOW_LATENCY = PlannerOptions(low_latency=True)
PARTS_HEAD = ("#EXT-X-PART-INF:PART-TARGET=0.5", "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES")


def test_parts_are_planned_once_and_the_whole_segment_is_not() -> None:
    planner = HlsPlanner(LOW_LATENCY)

    first = planner.update(playlist(5, ["5.mp4", part("6.0"), part("6.1")], *PARTS_HEAD), URL, 0.0)
    assert [(task.sequence, task.part) for task in tasks(first)] == [(5, None), (6, 0), (6, 1)]
    whole = [part("6.0"), part("6.1"), part("6.2"), part("6.3"), "6.mp4", part("7.0")]
    second = planner.update(playlist(5, ["5.mp4", *whole], *PARTS_HEAD), URL, 1.0)

    assert [(task.sequence, task.part) for task in tasks(second)] == [(6, 2), (6, 3), (7, 0)]
    assert gaps(second) == []
    assert tasks(second)[0].url == "https://cdn.example/live/6.2"


def test_parts_that_were_never_listed_are_a_gap() -> None:
    planner = HlsPlanner(LOW_LATENCY)
    planner.update(playlist(5, [part("5.0")], *PARTS_HEAD), URL, 0.0)

    items = planner.update(playlist(5, ["5.mp4", "6.mp4"], *PARTS_HEAD), URL, 9.0)

    assert gaps(items) == [(5, 5, GapReason.SLID_OUT)]
    assert isinstance(items[0], GapTask)
    assert items[0].duration == 1.5
    assert sequences(items) == [6]


def test_a_part_that_the_server_misses_is_a_gap() -> None:
    items = HlsPlanner(LOW_LATENCY).update(
        playlist(5, [part("5.0"), part("5.1", gap=True), part("5.2")], *PARTS_HEAD), URL, 0.0
    )

    assert [task.part for task in tasks(items)] == [0, 2]
    assert gaps(items) == [(5, 5, GapReason.SOURCE)]


def test_encrypted_segments_are_planned_whole() -> None:
    planner = HlsPlanner(LOW_LATENCY)
    key = '#EXT-X-KEY:METHOD=AES-128,URI="key"'

    assert planner.update(playlist(5, [key, part("5.0")], *PARTS_HEAD), URL, 0.0) == []
    (task,) = tasks(planner.update(playlist(5, [key, part("5.0"), "5.mp4"], *PARTS_HEAD), URL, 2.0))
    assert (task.part, task.url) == (None, "https://cdn.example/live/5.mp4")


def test_without_low_latency_parts_are_not_planned() -> None:
    planner = HlsPlanner()

    assert sequences(planner.update(playlist(5, ["5.mp4", part("6.0")], *PARTS_HEAD), URL, 0.0)) == [5]
    assert sequences(planner.update(playlist(5, ["5.mp4", part("6.0"), "6.mp4"], *PARTS_HEAD), URL, 0.0)) == [6]


# When to load again


def request(planner: HlsPlanner, now: float) -> PlaylistRequest:
    found = planner.next_request(now)
    assert found is not None
    return found


def test_refresh_after_the_target_duration_and_after_half_of_it_without_news() -> None:
    planner = HlsPlanner()
    planner.update(playlist(0, ["a", "b", "c"], target=6), URL, 100.0)
    assert request(planner, 101.0) == PlaylistRequest(URL, 5.0)

    planner.update(playlist(0, ["a", "b", "c"], target=6), URL, 106.0)
    assert request(planner, 106.0).delay == 3.0
    assert planner.idle_for(106.0) == 6.0

    planner.unchanged(109.0)
    assert request(planner, 120.0).delay == 0.0


def test_a_short_window_is_loaded_before_it_slides_out() -> None:
    planner = HlsPlanner()
    planner.update(
        playlist(0, ["a", "b"], target=6).replace("#EXTINF:6", "#EXTINF:2"), URL, 0.0
    )  # 4 s of media, 6 s target

    assert request(planner, 0.0).delay == 2.0


def test_refresh_is_bounded() -> None:
    planner = HlsPlanner(PlannerOptions(min_refresh=1.0, max_refresh=5.0))

    planner.update(playlist(0, ["a"] * 9, target=60), URL, 0.0)
    assert request(planner, 0.0).delay == 5.0
    planner.update(playlist(9, ["b"] * 9, target=1).replace("#EXTINF:1", "#EXTINF:0.1"), URL, 5.0)
    assert request(planner, 5.0).delay == 1.0


def test_a_server_that_can_block_is_asked_for_the_next_part() -> None:
    planner = HlsPlanner(LOW_LATENCY)
    planner.update(playlist(5, ["5.mp4", part("6.0")], *PARTS_HEAD), URL + "?a=1", 0.0)

    asked = request(planner, 0.0)
    assert asked == PlaylistRequest(URL + "?a=1&_HLS_msn=6&_HLS_part=1", 0.0, blocking=True)

    planner.update(playlist(5, ["5.mp4", part("6.0")], *PARTS_HEAD), asked.url, 0.0)
    # It answered without news: ask as one asks any other server, or it would be asked in a tight loop.
    assert request(planner, 0.0) == PlaylistRequest(URL + "?a=1", 0.5)


def test_there_is_nothing_to_load_again_before_the_first_load() -> None:
    with pytest.raises(ValueError, match="no playlist"):
        HlsPlanner().next_request(0.0)


# Take-over by another replica


def test_another_replica_goes_on_after_the_cursor() -> None:
    first = HlsPlanner()
    written = tasks(first.update(window(5, 3, "?token=a"), URL, 0.0))[1]

    second = HlsPlanner(resume_after=written.cursor)

    assert sequences(second.update(window(6, 4, "?token=b"), URL, 0.0)) == [7, 8, 9]


def test_a_take_over_tells_what_was_lost_meanwhile() -> None:
    written = tasks(HlsPlanner().update(window(5, 3), URL, 0.0))[-1]

    items = HlsPlanner(resume_after=written.cursor).update(window(10, 3), URL, 0.0)

    assert gaps(items) == [(8, 9, GapReason.SLID_OUT)]


def test_a_take_over_in_the_middle_of_a_segment() -> None:
    first = HlsPlanner(LOW_LATENCY).update(playlist(5, ["5.mp4", part("6.0"), part("6.1")], *PARTS_HEAD), URL, 0.0)
    second = HlsPlanner(LOW_LATENCY, resume_after=tasks(first)[1].cursor)

    items = second.update(playlist(5, ["5.mp4", part("6.0"), part("6.1"), part("6.2")], *PARTS_HEAD), URL, 0.0)

    assert [(task.sequence, task.part) for task in tasks(items)] == [(6, 1), (6, 2)]


def test_a_take_over_after_a_restart_of_the_source_takes_everything() -> None:
    written = tasks(HlsPlanner().update(window(500, 3), URL, 0.0))[-1]

    items = HlsPlanner(resume_after=written.cursor).update(window(0, 3, name="new"), URL, 0.0)

    assert sequences(items) == [0, 1, 2]
    assert tasks(items)[0].discontinuity


# Any live server


@dataclass
class Server:
    """A live server: it slides, rotates tokens, announces ahead and is read through a cache that may lag."""

    window_size: int
    edge: int = 0
    loads: int = 0
    shown: list[int] = field(default_factory=list)
    """The regular segments of the last load."""

    def load(self, lag: int, announced: int, host: int) -> str:
        self.loads += 1
        end = max(self.edge - lag, 1)
        first = max(0, end - self.window_size)
        names = [f"https://h{host}.example/x/seg{number}.ts?token={self.loads}" for number in range(first, end)]
        ahead = [f"#EXT-X-TWITCH-PREFETCH:https://h{host}.example/x/seg{end + n}.ts?t=1" for n in range(announced)]
        self.shown = list(range(first, end))
        return playlist(first, [*names, *ahead])


@dataclass(frozen=True)
class Step:
    published: int
    lost: bool
    lag: int
    announced: int
    host: int


_STEPS = st.lists(
    st.builds(Step, st.integers(0, 12), st.booleans(), st.integers(0, 3), st.integers(0, 2), st.integers(1, 3)),
    min_size=1,
    max_size=40,
)


def covered(items: Sequence[PlanItem]) -> list[int]:
    """The numbers of all items, in order: segments and those that gaps stand for."""
    numbers: list[int] = []
    for item in items:
        span = range(item.first_sequence, item.last_sequence + 1) if isinstance(item, GapTask) else [item.sequence]
        numbers.extend(span)
    return numbers


def follow(window_size: int, steps: Sequence[Step]) -> list[PlanItem]:
    server, planner = Server(window_size, edge=window_size), HlsPlanner()
    planned: list[PlanItem] = []
    now = 0.0
    for step in steps:
        server.edge += step.published
        now += 2.0 * step.published
        if step.lost:
            planner.unchanged(now)
            continue
        known = {*covered(planned)}
        new = planner.update(server.load(step.lag, step.announced, step.host), URL, now)
        first = min(known, default=0)
        # All that is shown is planned now, unless it was planned, or given up, before this load.
        assert {number for number in server.shown if number >= first} - known <= {*sequences(new)}
        planned += new
    return planned


@settings(max_examples=300, deadline=None)
@given(st.integers(3, 12), _STEPS)
def test_nothing_is_planned_twice_and_nothing_that_was_shown_is_lost(window_size: int, steps: list[Step]) -> None:
    planned = follow(window_size, steps)

    numbers = covered(planned)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
    assert [item.order for item in planned] == list(range(len(planned)))


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 12), _STEPS)
def test_the_same_loads_give_the_same_plan(window_size: int, steps: list[Step]) -> None:
    assert follow(window_size, steps) == follow(window_size, steps)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2000), st.integers(0, 6)), max_size=20))
def test_windows_from_anywhere_never_raise_and_orders_stay_in_line(loads: list[tuple[int, int, int]]) -> None:
    planner = HlsPlanner()
    planned: list[PlanItem] = []
    for number, (name, first, count) in enumerate(loads):
        planned += planner.update(window(first, count, name=f"n{name}-"), URL, float(number))

    assert [item.order for item in planned] == list(range(len(planned)))

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from media.fmp4 import parse_init
from media.hls import (
    Discontinuity,
    Gap,
    GapReason,
    HlsRecorder,
    Init,
    InitSection,
    Limits,
    Media,
    MissingMedia,
    SegmentOpened,
    SplitReason,
    StreamItem,
)
from media.segments import Lost

from .streams import KeptFile, Source, decode, inits, media, record


@pytest.mark.parametrize("source", ["ts_source", "mp4_source"])
def test_a_whole_stream_becomes_one_file_that_decodes(source: str, request: pytest.FixtureRequest) -> None:
    items = request.getfixturevalue(source).items()

    output = record(items)

    assert output.opened == [SegmentOpened(0, {"ts_source": "ts", "mp4_source": "mp4"}[source], 0)]
    (completed,) = output.completed
    assert (completed.duration_ms, completed.split_reason, completed.gaps) == (8000, SplitReason.END, ())
    assert completed.bytes == len(output.files[0].kept)
    decoded = decode(output.files[0].kept)
    assert decoded.video_frames == 200
    assert decoded.audio_frames in range(340, 350)
    assert decoded.duration == pytest.approx(8.0, abs=0.01)
    assert decoded.container_duration == pytest.approx(8.0, abs=0.1)


@pytest.mark.parametrize("source", ["ts_source", "mp4_source"])
def test_cut_begins_a_file_that_plays_on_its_own(source: str, request: pytest.FixtureRequest) -> None:
    items = request.getfixturevalue(source).items()

    output = record(items, cut_before={2})

    assert [event.start_ms for event in output.opened] == [0, 4000]
    assert [event.split_reason for event in output.completed] == [SplitReason.CUT, SplitReason.END]
    for event in output.completed:
        decoded = decode(output.files[event.index].kept)
        assert decoded.first_is_key
        assert decoded.video_frames == 100
        assert decoded.duration == pytest.approx(event.duration_ms / 1000, abs=0.01)


def test_every_mp4_file_begins_at_zero_with_picture_and_sound_together(mp4_source: Source) -> None:
    output = record(mp4_source.items(), cut_before={1, 3})

    for file in output.files.values():
        decoded = decode(file.kept)
        assert decoded.start < 0.2  # a live stream's decode times may be hours; B-frames delay by two pictures


@pytest.mark.parametrize("source", ["ts_source", "mp4_source"])
def test_duration_limit_cuts_before_it_is_exceeded(source: str, request: pytest.FixtureRequest) -> None:
    items = request.getfixturevalue(source).items()

    output = record(items, Limits(max_duration_ms=5000))

    assert [event.duration_ms for event in output.completed] == [4000, 4000]
    assert output.completed[0].split_reason is SplitReason.DURATION_LIMIT
    assert sum(decode(file.kept).video_frames for file in output.files.values()) == 200


def test_other_limits_hold_from_the_next_file_on(ts_source: Source) -> None:
    wanted = iter([Limits(max_duration_ms=2500), Limits(max_duration_ms=2500), Limits(max_duration_ms=60_000)])

    output = record(ts_source.items(), lambda: next(wanted))

    assert [event.duration_ms for event in output.completed] == [2000, 6000]


@pytest.mark.parametrize("source", ["ts_source", "mp4_source"])
def test_size_limit_cuts_before_it_is_exceeded(source: str, request: pytest.FixtureRequest) -> None:
    items = request.getfixturevalue(source).items()
    limit = 2 * max(len(item.data) for item in media(items)) + 3000

    output = record(items, Limits(max_bytes=limit))

    assert [event.split_reason for event in output.completed] == [SplitReason.SIZE_LIMIT, SplitReason.END]
    assert all(event.bytes <= limit for event in output.completed)


@pytest.mark.parametrize("source", ["ts_source", "mp4_source"])
def test_a_gap_stays_inside_the_file_and_is_told(source: str, request: pytest.FixtureRequest) -> None:
    items = request.getfixturevalue(source).items()
    lost = [item for item in items if not (isinstance(item, Media) and item.task.sequence == 1)]
    at = next(index for index, item in enumerate(lost) if isinstance(item, Media)) + 1
    lost.insert(at, MissingMedia(1, 1, 2000, GapReason.FAILED))

    output = record(lost)

    (completed,) = output.completed
    assert completed.gaps == (Gap(at_ms=2000, duration_ms=2000, reason=GapReason.FAILED),)
    assert output.lost == []
    assert completed.duration_ms == 8000
    assert decode(output.files[0].kept, whole=False).video_frames == 150


def test_a_silent_jump_of_the_source_is_told_as_its_gap(ts_source: Source) -> None:
    items = [item for item in ts_source.items() if not (isinstance(item, Media) and item.task.sequence == 1)]

    output = record(items)

    (completed,) = output.completed
    assert completed.gaps == (Gap(2000, 2000, GapReason.SOURCE),)
    assert output.lost == [Lost(4000, 2000, GapReason.SOURCE)]


def test_an_announced_discontinuity_with_the_same_clock_does_not_split(ts_source: Source) -> None:
    items: list[StreamItem] = []
    for item in ts_source.items():
        items += [Discontinuity(), item]

    assert len(record(items).completed) == 1


@pytest.mark.parametrize("source", ["ts_source", "mp4_source"])
def test_a_clock_that_starts_over_splits(source: str, request: pytest.FixtureRequest) -> None:
    items = request.getfixturevalue(source).items()

    output = record([*items, Discontinuity(), *items])

    assert [event.split_reason for event in output.completed] == [SplitReason.DISCONTINUITY, SplitReason.END]
    assert output.completed[0].split_detail == "timestamps jumped by -8000 ms"
    assert [event.start_ms for event in output.opened] == [0, 8000]
    assert [decode(file.kept).video_frames for file in output.files.values()] == [200, 200]


@pytest.mark.parametrize(("small", "large"), [("ts_source", "large_ts_source"), ("mp4_source", "large_mp4_source")])
def test_another_picture_size_splits(small: str, large: str, request: pytest.FixtureRequest) -> None:
    items = request.getfixturevalue(small).items() + request.getfixturevalue(large).items()

    output = record(items)

    assert output.completed[0].split_reason is SplitReason.RESOLUTION_CHANGE
    assert output.completed[0].split_detail == "160x120 -> 320x240"
    assert [decode(file.kept).video_frames for file in output.files.values()] == [200, 100]


def test_another_codec_splits(ts_source: Source, hevc_ts_source: Source) -> None:
    output = record([*ts_source.items(), *hevc_ts_source.items()])

    assert output.completed[0].split_reason is SplitReason.CODEC_CHANGE
    assert output.completed[0].split_detail == "h264 -> hevc"
    assert decode(output.files[1].kept).video_frames == 100


def test_an_init_that_says_the_same_does_not_split(mp4_source: Source) -> None:
    items = mp4_source.items()
    (init,) = inits(items)
    moov_at = init.data.index(b"mvhd")
    dated = init.data[: moov_at + 8] + b"\x00\x00\x00\x07" + init.data[moov_at + 12 :]
    assert parse_init(dated) == parse_init(init.data)
    items.insert(3, replace(init, data=dated))

    assert len(record(items).completed) == 1


def test_a_container_change_splits(ts_source: Source, mp4_source: Source) -> None:
    output = record([*ts_source.items(), Discontinuity(), *mp4_source.items()])

    assert list(output.extensions.values()) == ["ts", "mp4"]
    assert [decode(file.kept).video_frames for file in output.files.values()] == [200, 200]


def test_a_segment_without_key_frame_does_not_begin_a_file(ts_source: Source) -> None:
    items = media(ts_source.items())
    middle = items[1]
    # The second half of the segment: it begins between two key frames, like a low latency part.
    parts = _split_at_pictures(middle)

    output = record([items[0], *parts, items[2]], cut_before={2})

    assert [event.split_reason for event in output.completed] == [SplitReason.CUT, SplitReason.END]
    assert output.completed[0].duration_ms == pytest.approx(4000, abs=5)
    assert decode(output.files[1].kept).first_is_key


def test_a_limit_waits_for_a_key_frame(ts_source: Source) -> None:
    items = media(ts_source.items())
    parts = _split_at_pictures(items[1])

    output = record([items[0], *parts, items[2], items[3]], Limits(max_duration_ms=3500))

    assert output.completed[0].duration_ms == pytest.approx(4000, abs=5)


def test_a_limit_forgives_rounded_frames(ts_source: Source) -> None:
    output = record(ts_source.items(), Limits(max_duration_ms=3950))

    assert [event.duration_ms for event in output.completed] == [4000, 4000]


def test_a_gap_between_two_files_counts_on_the_timeline(ts_source: Source) -> None:
    items = ts_source.items()

    output = record([*items, MissingMedia(4, 6, 6000, GapReason.SLID_OUT), Discontinuity(), *items])

    assert [event.start_ms for event in output.opened] == [0, 14_000]
    assert output.completed[0].gaps == (Gap(8000, 6000, GapReason.SLID_OUT),)


def test_a_limit_after_a_gap_keeps_the_timeline(ts_source: Source) -> None:
    first, _, third, fourth = media(ts_source.items())

    output = record([first, MissingMedia(1, 1, 2100, GapReason.FAILED), third, fourth], Limits(max_duration_ms=2000))

    # The gap was estimated with 2.1 s; the timestamps know better.
    assert [event.start_ms for event in output.opened] == [0, 4000, 6000]


def test_an_announced_jump_splits_where_a_silent_one_is_a_gap(ts_source: Source) -> None:
    first, _, _, fourth = media(ts_source.items())

    assert len(record([first, fourth]).completed) == 1
    assert len(record([first, Discontinuity(), fourth]).completed) == 2


def test_one_damaged_timestamp_does_not_stretch_the_recording(ts_source: Source) -> None:
    items = media(ts_source.items())
    data = bytearray(items[1].data)
    picture = [at for at in range(0, len(data), 188) if data[at + 1 : at + 3] == b"\x41\x00"][10]
    header = data.index(b"\x00\x00\x01\xe0", picture) + 9
    data[header] |= 0x08  # bit 32 of the timestamp: more than thirteen hours
    items[1] = replace(items[1], data=bytes(data))

    output = record(list(items))

    assert sum(event.duration_ms for event in output.completed) < 20_000


def test_transport_streams_take_their_tables_from_an_init(ts_source: Source) -> None:
    items = media(ts_source.items())
    tables = items[0].data[: 3 * 188]
    section = InitSection("https://x.example/tables.ts")

    output = record([Init(section, tables), *(replace(item, data=_without_tables(item.data)) for item in items)])

    assert output.files[0].kept[: 2 * 188] == tables[188:]
    assert decode(output.files[0].kept).video_frames == 200


@pytest.mark.parametrize("source", ["ts_source", "mp4_source"])
def test_an_unbuffered_file_may_take_less_than_it_was_given(source: str, request: pytest.FixtureRequest) -> None:
    items = request.getfixturevalue(source).items()

    class Narrow(KeptFile):
        def write(self, data: Any) -> int:
            return super().write(bytes(data[:1000]))

    narrow = Narrow()
    recorder = HlsRecorder(lambda index, extension: narrow)
    for item in items:
        recorder.write(item)
    recorder.finish()

    assert narrow.kept == record(items).files[0].kept


def test_a_limit_is_enforced_at_twice_its_value_without_key_frames(ts_source: Source) -> None:
    items = media(ts_source.items())
    without_key = [_split_at_pictures(item)[1] for item in items]

    output = record(list(without_key), Limits(max_duration_ms=1500))

    assert len(output.completed) > 1
    assert output.completed[0].split_reason is SplitReason.DURATION_LIMIT


def test_a_file_that_begins_without_tables_gets_them(ts_source: Source) -> None:
    items = media(ts_source.items())
    stripped = replace(items[2], data=_without_tables(items[2].data))

    output = record([items[0], items[1], stripped, items[3]], cut_before={2})

    assert output.completed[0].split_reason is SplitReason.CUT
    assert output.files[1].kept[:4] == b"\x47\x40\x00" + output.files[1].kept[3:4]
    assert decode(output.files[1].kept).video_frames == 100


def test_a_segment_disguised_as_an_image_is_written_without_the_disguise(ts_source: Source) -> None:
    items = media(ts_source.items())
    disguised = [replace(item, data=b"\x89PNG\r\n\x1a\n" + b"GIF" * 40 + item.data) for item in items]

    output = record(list(disguised))

    assert output.files[0].kept == b"".join(item.data for item in items)


@pytest.mark.parametrize("source", ["ts_source", "mp4_source"])
@pytest.mark.parametrize("garbage", [b"", b"<html>gone</html>", b"\x47" * 50, b"\x00\x00\x00\x08moof", bytes(400)])
def test_a_damaged_segment_is_a_gap(source: str, garbage: bytes, request: pytest.FixtureRequest) -> None:
    items = request.getfixturevalue(source).items()
    at = next(index for index, item in enumerate(items) if isinstance(item, Media) and item.task.sequence == 2)
    items[at] = replace(items[at], data=garbage)

    output = record(items)

    (completed,) = output.completed
    assert completed.gaps == (Gap(4000, 2000, GapReason.DAMAGED),)
    assert output.lost == [Lost(6000, 2000, GapReason.DAMAGED)]


def test_a_fragment_that_was_cut_off_is_damage(mp4_source: Source) -> None:
    # given two segments that come as one, the second one torn
    items = mp4_source.items()
    at = next(index for index, item in enumerate(items) if isinstance(item, Media) and item.task.sequence == 1)
    items[at] = replace(items[at], data=items[at].data + items[at + 1].data[:-100])
    del items[at + 1]

    output = record(items)

    assert output.completed[0].gaps == (Gap(4000, 2000, GapReason.DAMAGED),)
    assert output.lost == [Lost(6000, 2000, GapReason.DAMAGED)]


def test_media_without_its_init_is_a_gap_not_an_unplayable_file(mp4_source: Source) -> None:
    items: list[StreamItem] = [item for item in mp4_source.items() if not isinstance(item, Init)]

    output = record(items)

    assert output.files == {}


def test_random_damage_never_raises(ts_source: Source, mp4_source: Source) -> None:
    generator = random.Random(7)
    for source in (ts_source, mp4_source):
        for _ in range(30):
            items = source.items()
            for index, item in enumerate(items):
                if isinstance(item, Media | Init) and generator.random() < 0.5:
                    damaged = bytearray(item.data)
                    for _ in range(20):
                        damaged[generator.randrange(min(len(damaged), 2000))] = generator.randrange(256)
                    items[index] = replace(item, data=bytes(damaged[: generator.randrange(1, len(damaged))]))

            output = record(items)

            assert all(event.bytes == len(output.files[event.index].kept) for event in output.completed)
            assert all(event.duration_ms >= 0 for event in output.completed)


def test_an_error_of_the_file_passes_and_finish_closes_it(ts_source: Source) -> None:
    class FullDisk:
        closed = False

        def seekable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            self.closed = True

    disk = FullDisk()
    recorder = HlsRecorder(lambda index, extension: disk)  # type: ignore[arg-type, return-value]

    with pytest.raises(OSError, match="No space"):
        recorder.write(media(ts_source.items())[0])

    recorder.finish()
    assert disk.closed


def _split_at_pictures(item: Media) -> list[Media]:
    """Two halves of a TS segment, cut where a picture begins that is no key frame."""
    data = item.data
    video = [
        at
        for at in range(0, len(data), 188)
        if data[at + 1] & 0x40 and (data[at + 1] & 0x1F) << 8 | data[at + 2] == 0x100
    ]
    middle = video[len(video) // 2 + 5]
    assert not data[middle + 5] & 0x40
    return [
        replace(item, data=part, task=replace(item.task, duration=item.task.duration / 2, part=number))
        for number, part in enumerate((data[:middle], data[middle:]))
    ]


def _without_tables(data: bytes) -> bytes:
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    return b"".join(packet for packet in packets if (packet[1] & 0x1F) << 8 | packet[2] in (0x100, 0x101))

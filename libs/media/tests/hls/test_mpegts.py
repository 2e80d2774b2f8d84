from __future__ import annotations

import io
import random
from dataclasses import replace

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media.hls import Media, SplitReason
from media.mpegts import PACKET_BYTES, TIMESTAMP_MODULUS, aligned, find_sync, lacks_packets, recover_ts, scan_ts, unwrap
from media.mpegts.packets import pid_of
from media.segments import GapReason

from .streams import Source, decode, ffmpeg, make_stream, media, record


def segment(source: Source, number: int = 0) -> bytes:
    return (source.folder / f"index{number}.ts").read_bytes()


def test_scan_agrees_with_a_real_demuxer(ts_source: Source) -> None:
    data = segment(ts_source, 1)
    with av.open(io.BytesIO(data)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]

    scan = scan_ts(data)

    assert scan.timestamps is not None
    assert (scan.timestamps.low, scan.timestamps.high, scan.timestamps.count) == (min(times), max(times), 50)
    assert scan.timestamps.interval == 3600  # 25 pictures each second
    assert scan.program is not None
    assert [(stream.codec, stream.is_video) for stream in scan.program.streams] == [("h264", True), ("aac", False)]
    assert (scan.picture, scan.starts_with_keyframe, scan.begins_with_tables) == ((160, 120), True, True)
    assert scan.tables == data[188 : 3 * 188]  # after the service description come the PAT and the PMT


def test_hevc_key_frame_and_picture_size(hevc_ts_source: Source) -> None:
    scan = scan_ts(segment(hevc_ts_source))

    assert scan.program is not None
    assert scan.program.video is not None
    assert (scan.program.video.codec, scan.picture, scan.starts_with_keyframe) == ("hevc", (160, 120), True)


@pytest.mark.parametrize("source", ["ts_source", "hevc_ts_source"])
def test_a_key_frame_is_seen_without_the_random_access_indicator(source: str, request: pytest.FixtureRequest) -> None:
    data = bytearray(segment(request.getfixturevalue(source)))
    for at in range(0, len(data), 188):
        if data[at + 3] & 0x20 and data[at + 4]:
            data[at + 5] &= ~0x40

    assert scan_ts(bytes(data)).starts_with_keyframe


def test_the_indicator_alone_marks_a_key_frame(ts_source: Source) -> None:
    data = segment(ts_source).replace(b"\x00\x00\x01\x65", b"\x00\x00\x01\x41")  # an open group: no IDR picture

    assert scan_ts(data).starts_with_keyframe


def test_a_segment_that_begins_between_key_frames_is_seen(ts_source: Source) -> None:
    data = segment(ts_source)
    known = scan_ts(data).program
    pictures = [at for at in range(0, len(data), 188) if data[at + 1 : at + 3] == b"\x41\x00"]
    middle = next(at for at in pictures[5:] if not data[at + 5] & 0x40)

    assert not scan_ts(data[middle:], known).starts_with_keyframe


def test_audio_alone_can_begin_anywhere(ts_source: Source) -> None:
    data = segment(ts_source)
    audio = b"".join(data[at : at + 188] for at in range(0, len(data), 188) if data[at + 2] != 0 or at < 3 * 188)

    scan = scan_ts(audio)

    assert scan.timestamps is not None
    assert not scan.starts_with_keyframe  # its tables promise a picture: a file should not begin without it


def test_whole_packets_are_not_copied_and_damage_is_left_out(ts_source: Source) -> None:
    data = segment(ts_source)
    packets = len(data) // 188

    assert aligned(data) is data
    assert aligned(b"junk" + data) == data
    assert aligned(data[:-100]) == data[:-188]
    torn = data[: 188 * 10] + data[188 * 10 + 50 :]
    assert aligned(torn) == data[: 188 * 10] + data[188 * 11 :]
    assert len(aligned(data[:188])) == 188
    assert aligned(b"") == aligned(b"G" * 100) == b""
    assert find_sync(b"x" * 500) is None
    assert packets > 100


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_can_be_scanned(data: bytes) -> None:
    packets = aligned(data)

    assert len(packets) % 188 == 0
    scan_ts(packets)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_damage_can_be_scanned(ts_source: Source, data: st.DataObject) -> None:
    damaged = bytearray(segment(ts_source)[: 188 * 40])
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), max_size=40)):
        damaged[at] = value

    scan_ts(aligned(bytes(damaged)))


@given(st.integers(0, TIMESTAMP_MODULUS * 3), st.integers(-(2**31), 2**31))
def test_timestamps_unwrap_to_the_nearest(reference: int, step: int) -> None:
    assert unwrap((reference + step) % TIMESTAMP_MODULUS, reference) == reference + step


def test_a_recording_goes_on_where_the_timestamps_start_over(tmp_path_factory: pytest.TempPathFactory) -> None:
    wrap_seconds = TIMESTAMP_MODULUS / 90_000
    source = make_stream(tmp_path_factory.mktemp("wrap"), "-output_ts_offset", f"{wrap_seconds - 5:.3f}")
    times = [scan_ts(segment(source, number)).timestamps for number in range(4)]
    assert times[0] is not None
    assert times[3] is not None
    assert times[3].first < times[0].first  # the stream really wraps

    output = record(source.items())

    (completed,) = output.completed
    assert (completed.duration_ms, completed.gaps) == (8000, ())
    assert recover_ts(io.BytesIO(output.files[0].kept)).duration_ms == 8000


# Recovery


def test_a_finished_file_is_left_alone(ts_source: Source) -> None:
    (output,) = record(ts_source.items()).files.values()
    file = io.BytesIO(output.kept)

    recovered = recover_ts(file)

    assert (recovered.bytes, recovered.duration_ms, recovered.removed_bytes) == (len(output.kept), 8000, 0)
    assert file.getvalue() == output.kept


def test_a_torn_file_plays_up_to_its_last_whole_packet(ts_source: Source) -> None:
    (output,) = record(ts_source.items()).files.values()
    generator = random.Random(3)
    for _ in range(20):
        size = generator.randrange(188 * 200, len(output.kept))
        file = io.BytesIO(output.kept[:size] + bytes(generator.choice([0, 0, 100, 4096])))

        recovered = recover_ts(file)

        assert size - size % 188 - recovered.bytes in (0, 188)
        assert file.getvalue() == output.kept[: recovered.bytes]
        assert recovered.bytes + recovered.removed_bytes >= size
        with av.open(io.BytesIO(file.getvalue())) as container:
            times = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
        # The torn end of a group of pictures lacks some of those in between: their mean distance is an estimate.
        assert recovered.duration_ms == pytest.approx((max(times) - min(times) + 3600) / 90, abs=5)


def test_more_than_half_a_round_of_the_clock_is_measured(
    ts_source: Source, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fifteen_hours = 54_000
    late = make_stream(tmp_path_factory.mktemp("late"), "-output_ts_offset", str(fifteen_hours), seconds=2)
    content = segment(ts_source) * 80 + segment(late) * 80  # more than the part of both ends that is read

    recovered = recover_ts(io.BytesIO(content))

    assert recovered.duration_ms == pytest.approx((fifteen_hours + 2) * 1000, abs=200)


@pytest.mark.parametrize("content", [b"", b"x" * 100, bytes(188 * 5)])
def test_nothing_is_left_of_a_file_without_packets(content: bytes) -> None:
    file = io.BytesIO(content)

    assert recover_ts(file).bytes == 0
    assert file.getvalue() == b""


# Packed audio


def test_packed_audio_is_recorded(tmp_path_factory: pytest.TempPathFactory, ts_source: Source) -> None:
    folder = tmp_path_factory.mktemp("aac")
    ffmpeg("-i", str(ts_source.folder / "index.m3u8"), "-vn", "-c", "copy", "-f", "adts", str(folder / "all.aac"))
    audio = (folder / "all.aac").read_bytes()
    frames = _adts_frames(audio)
    thirds = [b"".join(frames[at : at + len(frames) // 3 + 1]) for at in range(0, len(frames), len(frames) // 3 + 1)]
    clock = 0
    items: list[Media] = []
    for item, piece in zip(media(ts_source.items()), thirds, strict=False):
        items.append(Media(item.task, _id3(clock) + piece))
        clock += len(_adts_frames(piece)) * 1024 * 90_000 // 44_100

    output = record(list(items), cut_before={2})

    assert output.extensions == {0: "aac", 1: "aac"}
    assert output.completed[0].split_reason is SplitReason.CUT
    assert b"".join(file.kept for file in output.files.values()) == audio
    total = sum(event.duration_ms for event in output.completed)
    assert total == pytest.approx(len(frames) * 1024 / 44.1, abs=3)
    with av.open(io.BytesIO(output.files[0].kept), format="aac") as container:
        assert sum(1 for _ in container.decode(audio=0)) == 2 * (len(frames) // 3 + 1)


def _adts_frames(data: bytes) -> list[bytes]:
    frames = []
    while data:
        size = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
        frames.append(data[:size])
        data = data[size:]
    return frames


def _id3(timestamp: int) -> bytes:
    body = b"com.apple.streaming.transportStreamTimestamp\x00" + timestamp.to_bytes(8)
    frame = b"PRIV" + len(body).to_bytes(4) + b"\x00\x00" + body
    return b"ID3\x04\x00\x00" + bytes([0, 0, 0, len(frame)]) + frame


def test_decode_helper_notices_a_missing_picture(ts_source: Source) -> None:
    """The proof of all recordings is only as good as the decoder: lost packets must be seen."""
    data = segment(ts_source)

    with pytest.raises((av.error.FFmpegError, AssertionError)):
        decode(data[: 188 * 20] + data[188 * 40 :])


# Damage


def packets(data: bytes) -> list[bytes]:
    return [data[at : at + PACKET_BYTES] for at in range(0, len(data), PACKET_BYTES)]


def counted(number: int, *, has_payload: bool = True, jumps: bool = False, faulty: bool = False) -> bytes:
    """A packet of stream 256 with this continuity counter."""
    control = (0x10 if has_payload else 0) | (0x20 if jumps or not has_payload else 0) | number & 15
    adaptation = bytes([1, 0x80 if jumps else 0]) if control & 0x20 else b""
    return (bytes([0x47, 0x81 if faulty else 0x01, 0x00, control]) + adaptation).ljust(PACKET_BYTES, b"\xff")


OTHER_STREAM = bytes([0x47, 0x01, 0x01, 0x15]).ljust(PACKET_BYTES, b"\xff")


@pytest.mark.parametrize(
    ("data", "lacking"),
    [
        ([counted(number) for number in range(14, 40)], False),
        ([counted(1), counted(3)], True),
        ([counted(1), OTHER_STREAM, counted(2), OTHER_STREAM], False),
        ([counted(1), counted(1), counted(2)], False),
        ([counted(1), counted(1, has_payload=False), counted(9, has_payload=False), counted(2)], False),
        ([counted(1), counted(7, jumps=True), counted(8)], False),
        ([counted(1), counted(2, faulty=True), counted(3)], True),
        ([], False),
    ],
)
def test_a_missing_packet_shows_in_the_counters_of_its_stream(data: list[bytes], lacking: bool) -> None:
    assert lacks_packets(b"".join(data), 256) is lacking


def without_pictures(data: bytes, first: int, last: int, *, renumbered: bool) -> bytes:
    """A segment without some of its pictures; as if they had been lost, or as if there had been none."""
    program = scan_ts(data).program
    assert program is not None and program.video is not None
    kept, picture, counters = [], -1, {}
    for packet in packets(data):
        pid = pid_of(packet, 0)
        picture += pid == program.video.pid and bool(packet[1] & 0x40)
        if pid == program.video.pid and first <= picture <= last:
            continue
        kept.append(packet)
        if renumbered and packet[3] & 0x10:
            counters[pid] = counters.get(pid, -1) + 1 & 15
            kept[-1] = packet[:3] + bytes([packet[3] & 0xF0 | counters[pid]]) + packet[4:]
    return b"".join(kept)


@pytest.mark.parametrize(("first", "last"), [(10, 19), (10, 13)])
@pytest.mark.parametrize("renumbered", [False, True])
def test_pictures_that_were_lost_are_told_and_those_that_were_never_there_are_not(
    ts_source: Source, first: int, last: int, renumbered: bool
) -> None:
    items = ts_source.items()
    at = next(index for index, item in enumerate(items) if isinstance(item, Media) and item.task.sequence == 1)
    items[at] = replace(items[at], data=without_pictures(items[at].data, first, last, renumbered=renumbered))

    output = record(items)

    (completed,) = output.completed
    if renumbered or last - first < 9:  # nothing is wrong, or a few frames only
        assert (output.lost, completed.gaps) == ([], ())
        return
    (lost,), (gap,) = output.lost, completed.gaps
    assert (lost.reason, gap.reason) == (GapReason.DAMAGED, GapReason.DAMAGED)
    # of ten pictures in a row some are shown before and some behind others that are there
    assert 240 <= lost.lost_ms == gap.duration_ms <= 480
    assert 2000 < gap.at_ms < gap.at_ms + gap.duration_ms == lost.at_ms < 4000


def test_bytes_that_were_cut_off_name_the_reason_of_what_is_missing_behind_them(ts_source: Source) -> None:
    items = ts_source.items()
    at = next(index for index, item in enumerate(items) if isinstance(item, Media) and item.task.sequence == 1)
    whole = items[at].data
    items[at] = replace(items[at], data=whole[: len(whole) * 7 // 10 + 1])

    output = record(items)

    (lost,) = output.lost
    assert (lost.reason, lost.at_ms) == (GapReason.DAMAGED, 4000)
    assert 200 < lost.lost_ms < 1000
    assert [gap.reason for gap in output.completed[0].gaps] == [GapReason.DAMAGED]

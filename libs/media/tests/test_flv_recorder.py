"""The recorder: bytes of a live source in, clean files and their events out."""

from __future__ import annotations

import io

import av
import pytest
from media.flv.amf0 import encode_all
from media.flv.errors import FlvError
from media.flv.metadata import read_metadata
from media.flv.recorder import Limits, SegmentCompleted, SegmentOpened, SplitReason
from media.flv.recover import recover
from media.flv.tag import SCRIPT, Tag
from media.repair import RepairKind, RepairOptions

from libs.media.tests import flv_streams as flv


def kinds(recording: flv.Recording) -> list[RepairKind]:
    return [repair.kind for repair in recording.repairs]


def metadata(content: bytes) -> dict:
    fields = read_metadata(flv.scripts(content)[0].payload)
    assert fields is not None
    return fields


def durations(recording: flv.Recording) -> list[int]:
    return [event.duration_ms for event in recording.of(SegmentCompleted)]


def reasons(recording: flv.Recording) -> list[SplitReason]:
    return [event.reason for event in recording.of(SegmentCompleted)]


def frames(content: bytes) -> int:
    with av.open(io.BytesIO(content)) as container:
        return sum(1 for _ in container.decode(video=0))


# --- one clean connection


def test_one_connection_becomes_one_file_between_two_events():
    source = flv.gops(70_000, range(5))
    recording = flv.record(flv.stream(*source))
    opened, completed = recording.events
    assert opened == SegmentOpened(0, 0)
    assert (completed.index, completed.start_ms, completed.keyframes) == (0, 0, 5)
    assert completed.reason is SplitReason.END_OF_STREAM
    assert completed.bytes == len(recording.contents[0])
    assert completed.duration_ms == source[-1].timestamp - 70_000
    assert completed.repairs == ()
    assert recording.files[0].closed


def test_finishing_twice_does_nothing_and_feeding_a_finished_recorder_is_an_error():
    recording = flv.record(flv.stream(*flv.gops(0, range(3))))
    assert recording.recorder.finish() == []
    with pytest.raises(ValueError, match="finished"):
        recording.recorder.feed(b"x")


def test_a_stream_too_short_for_a_file_makes_none():
    recording = flv.record(flv.stream(*flv.gops(0, [1])[:9]))
    assert recording.events == []
    assert recording.files == {}


def test_what_is_no_flv_is_refused():
    with pytest.raises(FlvError):
        flv.record(b"<html>" * 300_000)


def test_an_error_of_the_file_passes_through():
    class FullDisk(flv.MemoryFile):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    recorder = flv.FlvRecorder(lambda index: FullDisk(), buffer_size=1)
    with pytest.raises(OSError, match="No space"):
        recorder.feed(flv.stream(*flv.gops(0, range(5))))


def test_what_was_received_is_let_go_of_soon():
    """Views of the first bytes, which hold the headers, would keep the buffer of a whole read for hours."""
    chunks = [bytearray(flv.stream(*flv.gops(0, range(2))))]
    chunks += [bytearray(b"".join(map(flv.raw, flv.gops(at * 800, [2 * at, 2 * at + 1])))) for at in range(1, 6)]
    recording = flv.Recording(buffer_size=1, options=RepairOptions(piece_ms=100))
    for chunk in chunks:
        recording.feed(memoryview(chunk).toreadonly())
    recording.recorder.cut()
    for chunk in chunks[:-2]:
        chunk.append(0)  # BufferError as long as there is a view


def test_after_each_feed_no_more_waits_than_the_buffer_may_hold():
    files: list[flv.MemoryFile] = []

    def open_file(_: int) -> flv.MemoryFile:
        files.append(flv.MemoryFile())
        return files[-1]

    data = flv.stream(*flv.gops(0, range(200)))
    for chunk in (100, 1000, 50_000):
        files.clear()
        recorder = flv.FlvRecorder(open_file, buffer_size=2000, options=RepairOptions(piece_ms=100))
        for at in range(0, len(data), chunk):
            recorder.feed(data[at : at + chunk])
            if files:
                assert recorder.progress.bytes - len(files[0].getvalue()) <= 2000 + 4
        recorder.finish()


def test_numbering_and_timeline_continue_where_another_process_stopped():
    recording = flv.record(flv.stream(*flv.gops(9_000, range(4))), first_index=7, start_ms=60_000)
    assert recording.of(SegmentOpened) == [SegmentOpened(7, 60_000)]
    assert flv.media(recording.contents[0])[0].timestamp == 0


def test_progress_counts_open_and_completed_files():
    recording = flv.Recording(limits=Limits(max_duration_ms=1000))
    assert recording.recorder.progress.index is None
    recording.feed(flv.stream(*flv.gops(0, range(8))))
    progress = recording.recorder.progress
    assert progress.index == len(recording.of(SegmentCompleted)) > 0
    assert progress.total_bytes == progress.bytes + sum(event.bytes for event in recording.of(SegmentCompleted))
    assert progress.total_duration_ms > progress.duration_ms > 0
    recording.finish()
    assert recording.recorder.progress.index is None
    assert recording.recorder.progress.total_bytes == sum(map(len, recording.contents))


# --- a stream in real time


def fed_until_a_file_exists(recording: flv.Recording, tags: list[Tag], *, tick_ms: int = 100) -> int:
    """Feed a stream as a server sends it, in ticks; the number of ticks after which a file has bytes."""
    recording.feed(flv.stream())
    for tick in range(tags[-1].timestamp // tick_ms + 1):
        recording.feed(b"".join(flv.raw(tag) for tag in tags if tag.timestamp // tick_ms == tick))
        if recording.files and recording.files[0].tell():
            return tick + 1
    raise AssertionError("no file before the end of the stream")


def test_the_first_file_has_bytes_as_soon_as_enough_media_is_known():
    tags = flv.gop(0, 1, frames=50)
    enough = next(n for n in range(1, 20) if sum(tag.timestamp < 100 * n for tag in tags) >= 10)
    assert enough == 2, "less than a file is worth comes with the first tick"
    recording = flv.Recording(options=RepairOptions(piece_ms=100))
    # not when the second piece is complete, which takes a third tick, and not at the next keyframe
    assert fed_until_a_file_exists(recording, tags) == enough
    written = flv.media(recording.finish().contents[0])
    assert written == [tag for tag in tags if tag.timestamp < 100 * enough]


# --- real media


@pytest.mark.parametrize(
    ("video_args", "codec"),
    [
        (("-c:v", "libx264", "-g", "25"), "h264"),
        (("-c:v", "libx264", "-g", "25", "-bf", "2"), "h264"),
        (("-c:v", "libx265", "-g", "25", "-x265-params", "log-level=none:pools=1"), "hevc"),
        (("-c:v", "libvpx-vp9", "-g", "25", "-deadline", "realtime"), "vp9"),
    ],
)
def test_real_streams_decode_whole_after_recording(video_args, codec):
    # Given six seconds of a real encoder's output, arriving in network-sized pieces
    recording = flv.record(flv.ffmpeg_flv(6, video_args=video_args), chunk=1448)
    # Then every frame decodes, the duration is right and nothing needed a repair
    (content,) = recording.contents
    with av.open(io.BytesIO(content)) as container:
        assert [stream.codec_context.name for stream in container.streams if stream.type == "video"] == [codec]
        assert abs(container.duration / 1e6 - 6) < 0.2
    assert frames(content) == 150
    assert recording.repairs == []


def test_a_limited_recording_of_a_real_stream_decodes_piece_by_piece():
    recording = flv.record(flv.ffmpeg_flv(6), limits=Limits(max_duration_ms=2100), chunk=5000)
    assert [frames(content) for content in recording.contents] == [50, 50, 50]
    assert all(length <= 2100 for length in durations(recording))
    assert reasons(recording) == [SplitReason.DURATION_LIMIT, SplitReason.DURATION_LIMIT, SplitReason.END_OF_STREAM]


def test_audio_alone_is_recorded_and_split_at_any_tag():
    recording = flv.record(flv.ffmpeg_flv(6, video_args=()), limits=Limits(max_duration_ms=2000), chunk=3000)
    assert len(recording.contents) == 3
    assert all(length <= 2000 for length in durations(recording))
    total = 0
    for content in recording.contents:
        with av.open(io.BytesIO(content)) as container:
            total += sum(frame.samples for frame in container.decode(audio=0))
    assert abs(total / 44_100 - 6) < 0.1


def test_the_index_of_a_real_file_leads_to_keyframes():
    (content,) = flv.record(flv.ffmpeg_flv(6)).contents
    with av.open(io.BytesIO(content)) as container:
        container.seek(4_000_000)
        frame = next(container.decode(video=0))
        assert frame.key_frame
        assert 2.9 < frame.time <= 4.1


# --- metadata


def test_metadata_holds_duration_size_and_a_keyframe_index():
    (content,) = flv.record(flv.stream(*flv.gops(0, range(20)))).contents
    fields = metadata(content)
    keyframes = fields["keyframes"]
    assert fields["duration"] == flv.media(content)[-1].timestamp / 1000
    assert fields["filesize"] == len(content)
    assert keyframes["times"] == [0, 2, 4, 6]  # one per 1.9 s at least
    for time, position in zip(keyframes["times"], keyframes["filepositions"], strict=True):
        tag = flv.parse(content[int(position) :])[0]
        assert tag.is_keyframe
        assert tag.timestamp == time * 1000


def test_the_fields_of_the_source_are_kept_but_not_its_duration():
    payload = encode_all(["onMetaData", {"encoder": "OBS", "duration": 99.0, "width": 640.0}])
    source = [Tag.of(SCRIPT, 0, payload), flv.avc_header(), flv.aac_header(), *flv.gops(0, range(3))]
    (content,) = flv.record(flv.stream(*source, headers=False)).contents
    fields = metadata(content)
    assert (fields["encoder"], fields["width"]) == ("OBS", 640.0)
    assert fields["duration"] < 2


@pytest.mark.parametrize("payload", [b"", b"\x02\x00\x0aonMetaData", b"\x02\x00\x05other\x05", b"\xff\xff"])
def test_a_broken_or_foreign_script_tag_is_replaced(payload):
    source = [Tag.of(SCRIPT, 0, payload), flv.avc_header(), flv.aac_header(), *flv.gops(0, range(3))]
    recording = flv.record(flv.stream(*source, headers=False))
    assert len(flv.scripts(recording.contents[0])) == 1
    assert metadata(recording.contents[0])["hasKeyframes"] is True
    assert RepairKind.SCRIPT in kinds(recording)


def test_a_file_left_by_a_killed_process_is_indexed_up_to_the_last_patch():
    # Given a recording that is still going on, twelve seconds of media in
    recording = flv.Recording()
    recording.feed(flv.stream(*flv.gops(0, range(30))))
    # When the process is killed: only what the file has got so far exists
    left = recording.files[0].getvalue()
    # Then the file has a duration, an index that points at keyframes inside it, and plays
    fields = metadata(left)
    assert fields["duration"] >= 10
    assert len(fields["keyframes"]["times"]) >= 5
    assert max(fields["keyframes"]["filepositions"]) < len(left)
    assert flv.media(left)[-1].timestamp >= 10_000


def test_a_killed_recording_of_real_media_plays_and_can_be_recovered():
    recording = flv.Recording()
    recording.feed(flv.ffmpeg_flv(12), chunk=1448)
    left = recording.files[0].getvalue()
    assert frames(left) >= 100
    # And a crash of the machine may tear the last write
    torn = io.BytesIO(left[:-700])
    recovered = recover(torn)
    assert recovered.indexed
    assert frames(torn.getvalue()) >= 90


# --- headers


def test_the_headers_of_the_stream_stand_once_in_front_at_zero():
    source = flv.gops(5_000, range(3))
    repeated = [source[0], flv.avc_header(5_001), flv.aac_header(5_001), *source[1:]]
    recording = flv.record(flv.stream(*repeated))
    headers = flv.sequence_headers(recording.contents[0])
    assert [(tag.type, tag.timestamp) for tag in headers] == [(9, 0), (8, 0)]
    assert len(recording.contents) == 1
    assert kinds(recording) == [RepairKind.HEADER_REPEATED] * 2


def test_a_changed_header_begins_a_new_file_with_both_headers():
    before, after = flv.gops(0, range(3)), flv.gops(1200, range(3, 6))
    other = flv.avc_header(1200, flv.avc_record(flv.OTHER_SPS))
    recording = flv.record(flv.stream(*before, other, *after))
    assert reasons(recording) == [SplitReason.CODEC_CHANGE, SplitReason.END_OF_STREAM]
    assert "->" in recording.of(SegmentCompleted)[0].detail
    first, second = recording.contents
    assert flv.media(first) == before
    assert [tag.payload for tag in flv.media(second)] == [tag.payload for tag in after]
    assert flv.sequence_headers(second) == [flv.avc_header(0, flv.avc_record(flv.OTHER_SPS)), flv.aac_header()]
    assert recording.of(SegmentOpened)[1].start_ms == 1200


def test_headers_that_flip_without_media_between_do_not_shatter_the_recording():
    # Given edge servers whose headers differ in display hints only, and that send both at every reconnect
    hinted = flv.avc_header(0, flv.avc_record(flv.HINTED_SPS))
    connections = [flv.stream(*flv.gops(n * 2000, range(n * 5, n * 5 + 5)), headers=False) for n in range(4)]
    streams = []
    for number, data in enumerate(connections):
        first, second = (flv.avc_header(), hinted) if number % 2 else (hinted, flv.avc_header())
        streams.append(flv.FILE_HEADER + flv.raw(first) + flv.raw(second) + flv.raw(flv.aac_header()) + data[13:])
    # When the connections are recorded
    recording = flv.record(*streams)
    # Then it is one file
    assert len(recording.contents) == 1


def test_a_header_that_comes_after_its_first_data_is_moved_to_the_front():
    source = flv.gops(0, range(3))
    recording = flv.record(flv.stream(flv.avc_header(), *source[:6], flv.aac_header(90), *source[6:], headers=False))
    assert len(recording.contents) == 1
    assert [tag.type for tag in flv.sequence_headers(recording.contents[0])] == [9, 8]
    assert kinds(recording) == [RepairKind.HEADER_LATE]


@pytest.mark.parametrize("piece_ms", [0, 100])
@pytest.mark.parametrize("frames", [1, 3])
def test_a_picture_before_the_parameters_of_the_sound_are_known_is_kept(piece_ms, frames):
    # given what ffmpeg makes of a transport stream whose first packets are pictures: an empty header, and the real one with the first sound
    pictures = [flv.video(n * 40, n, key=n == 0) for n in range(frames)]
    later = [tag for tag in flv.gop(0, 1) if tag.timestamp >= frames * 40]
    source = [*pictures, *later, *flv.gops(400, range(2, 6))]
    opening = [flv.avc_header(), flv.aac_header(config=b""), *pictures, flv.aac_header(frames * 40)]
    data = flv.stream(*opening, *source[frames:], headers=False)
    # when it is recorded
    recording = flv.record(data, options=RepairOptions(piece_ms=piece_ms, first_piece_ms=piece_ms), chunk=64)
    # then the file begins with its keyframe, and nothing is missing
    (content,) = recording.contents
    assert [bytes(tag.payload) for tag in flv.media(content)] == [bytes(tag.payload) for tag in source]
    assert [bytes(tag.payload) for tag in flv.sequence_headers(content)] == [
        bytes(flv.avc_header().payload),
        bytes(flv.aac_header().payload),
    ]


def test_a_change_of_parameters_for_a_handful_of_tags_makes_no_file():
    other = flv.avc_header(0, flv.avc_record(flv.OTHER_SPS))
    shard = flv.gops(1200, [50])[:4]
    recording = flv.record(
        flv.stream(*flv.gops(0, range(3)), other, *shard, flv.avc_header(), *flv.gops(1600, range(3, 6)))
    )
    assert len(recording.contents) == 2
    assert kinds(recording).count(RepairKind.FRAGMENT) == 1


# --- end markers


def test_an_end_marker_stays_at_the_end_only():
    source = flv.gops(0, range(4))
    middle = len(source) // 2
    recording = flv.record(flv.stream(*source[:middle], flv.avc_end(), *source[middle:], flv.avc_end()))
    tags = flv.parse(recording.contents[0])
    assert [n for n, tag in enumerate(tags) if isinstance(tag, Tag) and tag.is_end_of_sequence] == [len(tags) - 1]
    assert tags[-1].timestamp == tags[-2].timestamp
    assert kinds(recording) == [RepairKind.END_OF_SEQUENCE]


# --- limits and cuts


def test_a_file_ends_at_the_keyframe_before_the_time_limit():
    recording = flv.record(flv.stream(*flv.gops(0, range(10))), limits=Limits(max_duration_ms=1000))
    assert all(length <= 1000 for length in durations(recording))
    assert [event.start_ms for event in recording.of(SegmentOpened)] == [0, 800, 1600, 2400, 3200]
    assert all(flv.media(content)[0].is_keyframe for content in recording.contents)


def test_other_limits_hold_from_the_next_file_on():
    wanted = [Limits(max_duration_ms=1000)]
    recording = flv.Recording(limits=lambda: wanted[0])
    data = flv.stream(*flv.gops(0, range(20)))
    recording.feed(data[: len(data) // 8])
    wanted[0] = Limits(max_duration_ms=2000)
    recording.feed(data[len(data) // 8 :])
    recording.finish()
    assert durations(recording)[0] <= 1000
    assert 1000 < durations(recording)[1] <= 2000


def test_a_file_never_grows_past_the_size_limit():
    limit = 12_000
    recording = flv.record(flv.stream(*flv.gops(0, range(40))), limits=Limits(max_duration_ms=60_000, max_bytes=limit))
    sizes = [event.bytes for event in recording.of(SegmentCompleted)]
    assert len(sizes) > 2
    assert max(sizes) <= limit
    assert SplitReason.SIZE_LIMIT in reasons(recording)


def test_limits_lose_and_repeat_nothing():
    source = flv.gops(0, range(25))
    recording = flv.record(flv.stream(*source), limits=Limits(max_duration_ms=1000))
    written = [bytes(tag.payload) for content in recording.contents for tag in flv.media(content)]
    assert written == [bytes(tag.payload) for tag in source]


def test_without_keyframes_the_file_is_cut_at_twice_the_limit():
    source = [flv.video(n * 40, n) for n in range(500)]
    recording = flv.record(flv.stream(*source), limits=Limits(max_duration_ms=3000))
    assert durations(recording)[:-1] == [6000, 6000, 6000]
    assert sum(len(flv.media(content)) for content in recording.contents) == 500


def groups_of(lengths_ms: list[int]) -> list[Tag]:
    starts = [sum(lengths_ms[:n]) for n in range(len(lengths_ms))]
    return [
        tag
        for n, (start, length) in enumerate(zip(starts, lengths_ms, strict=True))
        for tag in flv.gop(start, n, frames=length // 40)
    ]


@pytest.mark.parametrize("piece_ms", [0, 100])
@pytest.mark.parametrize("limits", [Limits(max_duration_ms=2000), Limits(max_bytes=6_000)], ids=["time", "size"])
def test_a_file_begins_with_a_keyframe_as_long_as_no_group_is_longer_than_the_limit(limits, piece_ms):
    # the long ones come when the short ones before let expect that there is room for another
    source = groups_of([400, 400, 400, 1960, 400, 1200, 1960, 1960, 400, 400, 400, 400, 1960, 400])
    recording = flv.record(flv.stream(*source), limits=limits, options=RepairOptions(piece_ms=piece_ms), chunk=64)
    assert len(recording.contents) >= 5
    assert all(flv.media(content)[0].is_keyframe for content in recording.contents)


@pytest.mark.parametrize("piece_ms", [0, 100])
def test_a_group_longer_than_the_limit_is_cut_inside_where_its_file_has_twice_the_limit(piece_ms):
    source = groups_of([400, 400, 400, 8000, 400, 400])
    limits, options = Limits(max_duration_ms=2000), RepairOptions(piece_ms=piece_ms)
    recording = flv.record(flv.stream(*source), limits=limits, options=options, chunk=64)
    begins = [flv.media(content)[0].is_keyframe for content in recording.contents]
    assert False in begins
    assert max(durations(recording)) <= 4000
    assert sum(len(flv.media(content)) for content in recording.contents) == len(source)


def test_a_cut_happens_at_the_next_keyframe():
    source = flv.gops(0, range(6))
    recording = flv.Recording()
    at = len(flv.stream(*source[:70]))
    data = flv.stream(*source)
    recording.feed(data[:at])
    recording.recorder.cut()
    recording.feed(data[at:]).finish()
    assert reasons(recording) == [SplitReason.CUT, SplitReason.END_OF_STREAM]
    assert flv.media(recording.contents[1])[0].is_keyframe


@pytest.mark.parametrize("wrong", [{"max_duration_ms": 0}, {"max_bytes": -1}])
def test_a_limit_that_is_not_positive_is_refused(wrong):
    with pytest.raises(ValueError, match="positive"):
        Limits(**wrong)

from __future__ import annotations

import io
import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media.fmp4 import (
    InitTracks,
    Mp4Error,
    boxes,
    duration_patch,
    parse_init,
    rebase,
    recover_mp4,
    scan_fragments,
    whole_fragments,
    with_duration_box,
)
from media.hls import HlsRecorder, Media, StreamItem

from .streams import Source, decode, ffmpeg, inits, media, record


def init_of(source: Source) -> bytes:
    return (source.folder / "init.mp4").read_bytes()


def segment(source: Source, number: int) -> bytes:
    return (source.folder / f"index{number}.m4s").read_bytes()


def test_tracks_are_read(mp4_source: Source) -> None:
    tracks = parse_init(init_of(mp4_source))

    assert tracks.video is not None
    assert tracks.audio is not None
    assert (tracks.video.codec, tracks.video.width, tracks.video.height) == ("h264", 160, 120)
    assert (tracks.audio.codec, tracks.audio.timescale) == ("aac", 44_100)


def test_scan_agrees_with_a_real_demuxer(mp4_source: Source) -> None:
    init = init_of(mp4_source)
    with av.open(io.BytesIO(init + segment(mp4_source, 1))) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.dts is not None]
        seconds = [float(packet.dts * stream.time_base) for packet in packets]

    span = scan_fragments(segment(mp4_source, 1), parse_init(init)).reference

    assert span is not None
    assert (span.samples, span.starts_with_sync) == (50, True)
    assert (span.end - span.start) / span.track.timescale == pytest.approx(2.0)
    assert span.start / span.track.timescale == pytest.approx(min(seconds), abs=0.001)


def test_a_segment_that_begins_between_key_frames_is_seen(mp4_source: Source) -> None:
    data = segment(mp4_source, 1)
    at = data.index(b"\x02\x00\x00\x00", data.index(b"trun"))  # first_sample_flags: depends on no other
    between = data[:at] + b"\x01\x01\x00\x00" + data[at + 4 :]

    span = scan_fragments(between, parse_init(init_of(mp4_source))).video

    assert span is not None
    assert not span.starts_with_sync


def test_picture_and_sound_keep_their_distance_in_every_file(mp4_source: Source) -> None:
    tracks = parse_init(init_of(mp4_source))
    output = record(mp4_source.items(), cut_before={1, 2, 3})

    for index, file in output.files.items():
        source = _begins(segment(mp4_source, index), tracks)
        written = _begins(file.kept, tracks)
        assert min(written.values()) == 0
        for track_id, begin in written.items():
            assert begin == pytest.approx(source[track_id] - min(source.values()), abs=0.001)


def _begins(data: bytes, tracks: InitTracks) -> dict[int, float]:
    """Where each track begins, in seconds."""
    return {key: span.start / span.track.timescale for key, span in scan_fragments(data, tracks).spans.items()}


def test_fragments_are_parts_that_join_again(mp4_source: Source) -> None:
    items = mp4_source.items()
    parts: list[StreamItem] = list(inits(items))
    for item in media(items):
        parts += [replace(item, data=piece) for piece in _fragments(item.data)]
    assert len(parts) > len(items) or len(_fragments(media(items)[0].data)) == 1

    assert decode(record(parts).files[0].kept).video_frames == 200


def test_absolute_data_offsets_move_along(mp4_source: Source, tmp_path: Path) -> None:
    path = tmp_path / "absolute.mp4"
    ffmpeg(
        *("-i", str(mp4_source.folder / "index.m3u8"), "-c", "copy"),
        *("-movflags", "+frag_keyframe+empty_moov", str(path)),
    )
    data = path.read_bytes()
    moof = next(box for box in boxes(data) if box.kind == b"moof")
    flags = int.from_bytes(data[data.index(b"tfhd", moof.start) + 5 :][:3])
    assert flags & 1  # ffmpeg writes base-data-offset unless it is asked for default-base-is-moof
    init = data[: moof.start]
    header = with_duration_box(init) + b"\x00\x00\x00\x0cfree1234"

    moved = header + rebase(data, {}, len(header))

    assert decode(moved).video_frames == 200
    with pytest.raises((av.error.FFmpegError, AssertionError, ValueError)):
        decode(header + data[moof.start :])


def test_a_file_says_how_long_it_is(mp4_source: Source) -> None:
    data = record(mp4_source.items()).files[0].kept

    assert _written_duration_ms(data) == 8000


def test_the_duration_box_is_added_once(mp4_source: Source) -> None:
    once = with_duration_box(init_of(mp4_source))

    assert with_duration_box(once) == once
    assert parse_init(once) == parse_init(init_of(mp4_source))
    assert duration_patch(once, 1234) is not None
    assert duration_patch(init_of(mp4_source), 1234) is None


def test_an_output_that_cannot_seek_gets_no_duration_box(mp4_source: Source) -> None:
    class Pipe(io.BytesIO):
        kept = b""

        def seekable(self) -> bool:
            return False

        def seek(self, offset: int, whence: int = 0) -> int:
            raise io.UnsupportedOperation("seek")

        def close(self) -> None:
            self.kept = self.getvalue()
            super().close()

    pipe = Pipe()
    recorder = HlsRecorder(lambda index, extension: pipe)
    for item in mp4_source.items():
        recorder.write(item)
    recorder.finish()

    assert b"mehd" not in pipe.kept
    assert decode(pipe.kept).video_frames == 200


def test_a_fragment_whose_media_is_cut_off_is_left_out(mp4_source: Source) -> None:
    data = segment(mp4_source, 0)

    assert whole_fragments(data) is data
    assert whole_fragments(data[:-1]) == b"".join(_fragments(data)[:-1])


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00\x00\x00\x08moov", b"\x00\x00\x00\x10moov\x00\x00\x00\x08mvhd", bytes(64)],
)
def test_what_is_no_init_is_refused(data: bytes) -> None:
    with pytest.raises(Mp4Error):
        parse_init(data)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_damage_is_read_or_refused(mp4_source: Source, data: st.DataObject) -> None:
    init, fragments = init_of(mp4_source), segment(mp4_source, 0)
    tracks = parse_init(init)
    damage = st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), min_size=1, max_size=12)
    for original in (init, fragments):
        damaged = bytearray(original)
        for at, value in data.draw(damage):
            damaged[at % len(damaged)] = value
        candidate = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
        with suppress(Mp4Error):
            parse_init(candidate)
        try:
            scan = scan_fragments(whole_fragments(candidate), tracks)
        except Mp4Error:
            continue
        if scan.spans:
            rebase(whole_fragments(candidate), dict.fromkeys(scan.spans, 7), 100)


# Recovery


def test_a_finished_file_is_left_alone(mp4_source: Source) -> None:
    (output,) = record(mp4_source.items()).files.values()
    file = io.BytesIO(output.kept)

    recovered = recover_mp4(file)

    assert (recovered.bytes, recovered.duration_ms, recovered.removed_bytes) == (len(output.kept), 8000, 0)
    assert file.getvalue() == output.kept


def test_a_torn_file_plays_and_says_how_long_it_is(mp4_source: Source) -> None:
    (output,) = record(mp4_source.items()).files.values()
    ends = [box.end for box in boxes(output.kept) if box.kind == b"mdat"]
    generator = random.Random(5)
    for _ in range(20):
        size = generator.randrange(ends[0], len(output.kept))
        file = io.BytesIO(output.kept[:size] + bytes(generator.choice([0, 0, 100, 4096])))

        recovered = recover_mp4(file)

        kept = file.getvalue()
        assert recovered.bytes == len(kept) == max(end for end in ends if end <= size)
        decoded = decode(kept)
        assert recovered.duration_ms == pytest.approx(decoded.duration * 1000, abs=1)
        assert decoded.container_duration == pytest.approx(decoded.duration, abs=0.1)
        assert _written_duration_ms(kept) == recovered.duration_ms


@pytest.mark.parametrize("size", [0, 5, 100, 900])
def test_nothing_is_left_of_a_file_without_a_whole_fragment(mp4_source: Source, size: int) -> None:
    (output,) = record(mp4_source.items()).files.values()
    file = io.BytesIO(output.kept[:size])

    assert recover_mp4(file).bytes == 0
    assert file.getvalue() == b""


def _written_duration_ms(data: bytes) -> int:
    at = data.index(b"mehd") + 8
    return int.from_bytes(data[at : at + 8]) * 1000 // parse_init(data).timescale


def _fragments(data: bytes) -> list[bytes]:
    pieces: list[bytes] = []
    start = 0
    for box in boxes(data):
        if box.kind == b"mdat":
            pieces.append(data[start : box.end])
            start = box.end
    return pieces


def test_media_before_a_known_track_is_no_piece(mp4_source: Source) -> None:
    items = mp4_source.items()
    first = next(item for item in items if isinstance(item, Media))
    stranger = first.data.replace(b"tfhd", b"tfhx")

    (completed,) = record([replace(item, data=stranger) if item is first else item for item in items]).completed

    assert [gap.reason for gap in completed.gaps] == ["damaged"]

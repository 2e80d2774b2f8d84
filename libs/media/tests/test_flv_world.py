"""Real sources of every codec that ffmpeg muxes into FLV, damaged in every known way, repaired, and decoded by a real decoder."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import av
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from media.flv.metadata import read_metadata
from media.flv.parser import FlvParser
from media.flv.recorder import Limits, SegmentCompleted
from media.flv.tag import AUDIO, KEYFRAME, SCRIPT, VIDEO, Codec, FlvHeader, Tag
from media.flv.writer import FlvWriter
from media.repair import RepairKind

from libs.media.tests import flv_streams as flv

GOP = 12
SECONDS = 2
FRAMES = 25 * SECONDS

X264 = ("-c:v", "libx264", "-preset", "veryfast", "-sc_threshold", "0")
AAC = ("-c:a", "aac", "-b:a", "48k")
SOURCES: dict[str, tuple[tuple[str, ...], tuple[str, ...], Codec | None, Codec | None]] = {
    "avc-aac": (X264, AAC, Codec.AVC, Codec.AAC),
    "avc-mp3": (X264, ("-c:a", "libmp3lame"), Codec.AVC, Codec.MP3),
    "avc-opus": (X264, ("-c:a", "libopus", "-ar", "48000"), Codec.AVC, Codec.OPUS),
    "avc-flac": (X264, ("-c:a", "flac"), Codec.AVC, Codec.FLAC),
    "avc-ac3": (X264, ("-c:a", "ac3"), Codec.AVC, Codec.AC3),
    "avc-pcm": (X264, ("-c:a", "pcm_s16le"), Codec.AVC, Codec.PCM),
    "hevc-aac": (
        ("-c:v", "libx265", "-x265-params", "log-level=error:scenecut=0:open-gop=0"),
        AAC,
        Codec.HEVC,
        Codec.AAC,
    ),
    "av1-opus": (("-c:v", "libsvtav1", "-preset", "12"), ("-c:a", "libopus", "-ar", "48000"), Codec.AV1, Codec.OPUS),
    "vp9-aac": (("-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime"), AAC, Codec.VP9, Codec.AAC),
    "h263-mp3": (("-c:v", "flv1"), ("-c:a", "libmp3lame"), Codec.H263, Codec.MP3),
    "avc-only": (X264, (), Codec.AVC, None),
    "aac-only": ((), AAC, None, Codec.AAC),
    "opus-only": ((), ("-c:a", "libopus", "-ar", "48000"), None, Codec.OPUS),
}


@cache
def source(name: str) -> bytes:
    """Two seconds of a moving picture and a sweep, a keyframe each 12 frames."""
    video, audio = SOURCES[name][:2]
    command = [get_ffmpeg_exe(), "-v", "error"]
    if video:
        command += ["-f", "lavfi", "-i", f"testsrc2=size=64x64:rate=25:duration={SECONDS}"]
    if audio:
        command += ["-f", "lavfi", "-i", f"aevalsrc=sin(2000*t*t):duration={SECONDS}:sample_rate=44100"]
    command += [*video, *(("-g", str(GOP), "-threads", "1") if video else ()), *audio, "-f", "flv", "-"]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def tags_of(name: str) -> list[Tag]:
    return [item for item in flv.parse(source(name)) if isinstance(item, Tag)]


@dataclass
class Decoded:
    """What a decoder got: pictures and samples, and the times of the packets."""

    pictures: int = 0
    samples: int = 0
    duration_s: float = 0.0


def decode(data: bytes, *, strict: bool) -> Decoded:
    """Decode all of a file; `strict` makes every defect of the bitstream an error. Packet times must never go back."""
    found = Decoded()
    options = {"err_detect": "explode"} if strict else {}
    with av.open(io.BytesIO(data), options=options) as container:
        last: dict[int, int] = {}
        found.duration_s = (container.duration or 0) / av.time_base
        for stream in container.streams:
            stream.codec_context.options = options
        for packet in container.demux():
            if packet.dts is not None:
                assert packet.dts >= last.get(packet.stream_index, 0)
                last[packet.stream_index] = packet.dts
            if packet.size:  # an empty one only carries side data, or is PyAV's own at the end
                _count(found, lambda packet=packet: packet.decode(), strict)
        for stream in container.streams:
            _count(found, lambda stream=stream: stream.codec_context.decode(None), strict)
    return found


def _count(found: Decoded, decoded: Callable[[], list[Any]], strict: bool) -> None:
    try:
        frames = decoded()
    except av.error.InvalidDataError:
        if strict:
            raise
        return
    found.pictures += sum(isinstance(frame, av.VideoFrame) for frame in frames)
    found.samples += sum(frame.samples for frame in frames if isinstance(frame, av.AudioFrame))


def at(tag: Tag, timestamp: int) -> Tag:
    return Tag.of(tag.type, timestamp & 0xFFFFFFFF, tag.payload)


def join(tags: list[Tag]) -> bytes:
    return flv.FILE_HEADER + b"".join(map(flv.raw, tags))


def moved(by: int, after: int = 0) -> Callable[[list[Tag]], list[bytes]]:
    """The clock is `by` ms ahead from `after` ms on."""
    return lambda tags: [join([at(tag, tag.timestamp + (by if tag.timestamp >= after else 0)) for tag in tags])]


def groups(tags: list[Tag]) -> list[list[Tag]]:
    """Headers, then runs that begin at keyframes, or 0.8 s of audio."""
    cuts = [n for n, tag in enumerate(tags) if tag.kind == KEYFRAME]
    if not cuts:
        cuts = [
            n
            for n in range(1, len(tags))
            if tags[n].is_media and tags[n].timestamp // 800 > tags[n - 1].timestamp // 800
        ]
    return [tags[start:end] for start, end in pairwise([0, *(cut for cut in cuts if cut), len(tags)])]


def headers(tags: list[Tag]) -> list[Tag]:
    return [tag for tag in tags if tag.is_sequence_header]


def junk(tags: list[Tag]) -> list[bytes]:
    parts = [flv.raw(tag) for tag in tags]
    return [
        flv.FILE_HEADER + b"".join(part + (b"\x09junk\x08" * 5 if n % 20 == 7 else b"") for n, part in enumerate(parts))
    ]


def hole(tags: list[Tag]) -> list[bytes]:
    """A stretch of bytes is missing in the middle of a tag."""
    data = join(tags)
    middle = len(data) // 2
    return [data[:middle] + data[middle + 50 :]]


def repeated_headers(tags: list[Tag]) -> list[bytes]:
    first, *rest = groups(tags)
    return [
        join(
            [*first, *(tag for group in rest for tag in [*[at(h, group[0].timestamp) for h in headers(tags)], *group])]
        )
    ]


def rejoined(tags: list[Tag]) -> list[bytes]:
    """The connection breaks inside a group; the next one begins two groups earlier, with another clock."""
    parts = groups(tags)
    broken = [tag for group in parts[:-1] for tag in group] + parts[-1][: len(parts[-1]) // 2]
    again = [at(tag, tag.timestamp + 77_000) for group in parts[-2:] for tag in group]
    return [join(broken), join([*headers(tags), *again])]


def stuck(tags: list[Tag]) -> list[bytes]:
    """An edge server sends one group three times, with its old time stamps."""
    parts = groups(tags)
    return [join([tag for n, group in enumerate(parts) for tag in group * (3 if n == len(parts) - 2 else 1)])]


def late_audio(tags: list[Tag]) -> list[bytes]:
    order = sorted(range(len(tags)), key=lambda n: n + (9 if tags[n].type == AUDIO and tags[n].is_media else 0))
    return [join([tags[n] for n in order])]


def rebounds(tags: list[Tag]) -> list[bytes]:
    """A step back of 76 ms that lasts three frames, in each group."""
    return [
        join([at(tag, tag.timestamp - 76) if 5 <= n < 8 and k else tag for k, g in enumerate(groups(tags)) for n, tag in enumerate(g)])
    ]  # fmt: skip


def end_inside(tags: list[Tag]) -> list[bytes]:
    ends = [tag for tag in tags if tag.is_end_of_sequence] or [flv.avc_end()]
    first, *rest = groups(tags)
    return [join([*first, *(tag for group in rest for tag in [*ends, *group])])]


def false_start(tags: list[Tag]) -> list[bytes]:
    return [join(tags[:6]), join(tags)]


def without_script(tags: list[Tag]) -> list[bytes]:
    return [join([tag for tag in tags if tag.type != SCRIPT])]


def broken_script(tags: list[Tag]) -> list[bytes]:
    return [join([Tag.of(SCRIPT, 0, tag.payload[: tag.size // 2]) if tag.type == SCRIPT else tag for tag in tags])]


def zero_sizes(tags: list[Tag]) -> list[bytes]:
    """A server that writes zeros for the size behind a tag."""
    return [flv.FILE_HEADER + b"".join(flv.raw(tag)[:-4] + bytes(4) for tag in tags)]


def late_header(tags: list[Tag]) -> list[bytes]:
    """Five frames come before the sequence headers."""
    media = [tag for tag in tags if tag.is_media]
    rest = [tag for tag in tags if not tag.is_media and tag.type != SCRIPT and not tag.is_end_of_sequence]
    return [join([*media[:5], *rest, *media[5:]])]


LOSSLESS: dict[str, Callable[[list[Tag]], list[bytes]]] = {
    "clean": lambda tags: [join(tags)],
    "starts anywhere": moved(5_000_000),
    "starts below zero": moved(-1_000),
    "wraps": moved(2**32 - 1_000),
    "jumps ahead": moved(3_600_000, after=1_000),
    "jumps back": moved(-500_000, after=1_000),
    "junk": junk,
    "repeated headers": repeated_headers,
    "rejoined": rejoined,
    "stuck": stuck,
    "late audio": late_audio,
    "rebounds": rebounds,
    "end inside": end_inside,
    "false start": false_start,
    "no script": without_script,
    "broken script": broken_script,
    "zero sizes": zero_sizes,
    "late header": late_header,
}
LOSSY = {"hole": hole, "torn end": lambda tags: [join(tags)[:-200]]}


@pytest.mark.parametrize("name", SOURCES)
def test_codecs_are_told_apart(name):
    tags = tags_of(name)
    video, audio = SOURCES[name][2:]
    assert {tag.codec for tag in tags if tag.type == VIDEO and tag.is_media} == ({video} if video else set())
    assert {tag.codec for tag in tags if tag.type == AUDIO and tag.is_media} == ({audio} if audio else set())
    if video:
        assert sum(tag.is_keyframe for tag in tags) == -(-FRAMES // GOP)


@pytest.mark.parametrize("damage", LOSSLESS)
@pytest.mark.parametrize("name", SOURCES)
def test_what_is_repaired_decodes_without_a_fault_and_has_all_that_was_sent(name, damage):
    # Given a source, damaged without loss of media
    tags = tags_of(name)
    media = [tag for tag in tags if tag.is_media]
    # When it is repaired
    recording = flv.record(*LOSSLESS[damage](tags))
    # Then it is one file with every frame once, in its order
    (content,) = recording.contents
    for channel in (VIDEO, AUDIO):
        sent = [bytes(tag.payload) for tag in media if tag.type == channel]
        assert [bytes(tag.payload) for tag in flv.media(content) if tag.type == channel] == sent
    # And it decodes as the source does, as long as it is
    expected, decoded = decode(source(name), strict=True), decode(content, strict=True)
    assert (decoded.pictures, decoded.samples) == (expected.pictures, expected.samples)
    span = (media[-1].timestamp - media[0].timestamp) / 1000
    assert decoded.duration_s == pytest.approx(span, abs=0.15)
    assert read_metadata(flv.scripts(content)[0].payload)["duration"] == pytest.approx(span, abs=0.15)


@pytest.mark.parametrize("damage", LOSSY)
@pytest.mark.parametrize("name", SOURCES)
def test_lost_bytes_cost_the_frames_they_were_in_and_no_more(name, damage):
    tags = tags_of(name)
    recording = flv.record(*LOSSY[damage](tags))
    (content,) = recording.contents
    lost = sum(tag.is_media for tag in tags) - len(flv.media(content))
    damaged = sum(len(flv.raw(tag)) < 200 for tag in tags[-12:]) + 1 if damage == "torn end" else 3
    assert 0 <= lost <= damaged
    assert recording.repairs
    decode(content, strict=False)


@pytest.mark.parametrize("name", SOURCES)
def test_each_part_of_a_split_file_decodes_alone(name):
    recording = flv.record(join(tags_of(name)), limits=Limits(max_duration_ms=700))
    parts = [decode(content, strict=True) for content in recording.contents]
    whole = decode(source(name), strict=True)
    assert len(parts) >= 2
    assert sum(part.pictures for part in parts) == whole.pictures
    assert all(event.duration_ms <= 700 for event in recording.of(SegmentCompleted))


@pytest.mark.parametrize("name", [name for name in SOURCES if SOURCES[name][0]])
def test_a_player_finds_each_keyframe_through_the_index(name):
    (content,) = flv.record(join(tags_of(name))).contents
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        container.seek(1_900_000, backward=True)
        packet = next(container.demux(stream))
        assert packet.is_keyframe


def legacy_hevc(tags: list[Tag]) -> list[Tag]:
    """Enhanced HEVC as the CDNs wrote it before: codec id 12 with the packet types of AVC."""
    return [Tag.of(VIDEO, tag.timestamp, _legacy(tag)) if tag.type == VIDEO else tag for tag in tags]


def _legacy(tag: Tag) -> bytes:
    frame, packet = (tag.payload[0] >> 4 & 7) << 4, tag.payload[0] & 15
    body = bytes(tag.payload[5:])
    if packet == 1:
        return bytes([frame | 12, 1]) + body
    return bytes([frame | 12, 1 if packet == 3 else packet]) + bytes(3) + body


def test_hevc_by_its_old_number_is_repaired_like_hevc():
    tags = legacy_hevc(tags_of("hevc-aac"))
    assert {tag.codec for tag in tags if tag.type == VIDEO} == {Codec.HEVC}
    assert sum(tag.is_keyframe for tag in tags) == -(-FRAMES // GOP)
    recording = flv.record(*rejoined(tags))
    (content,) = recording.contents
    assert [bytes(tag.payload) for tag in flv.media(content) if tag.type == VIDEO] == [
        bytes(tag.payload) for tag in tags if tag.type == VIDEO and tag.is_media
    ]
    assert RepairKind.HEADER_CHANGED not in {repair.kind for repair in recording.repairs}


@pytest.mark.parametrize("name", SOURCES)
def test_a_clean_file_is_parsed_and_written_byte_by_byte(name: str):
    header, *tags = FlvParser().feed(source(name))
    file = io.BytesIO()
    writer = FlvWriter(file)
    assert isinstance(header, FlvHeader)
    writer.start(header)
    writer.write(tags)
    writer.finish()
    assert file.getvalue() == source(name)


@cache
def padded() -> bytes:
    """A still picture at a constant bitrate, which x264 reaches with filler."""
    command = [get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "color=red:size=64x64:rate=25:duration=8"]
    rate = ("-b:v", "400k", "-minrate", "400k", "-maxrate", "400k", "-bufsize", "400k")
    command += ["-c:v", "libx264", "-g", "25", "-threads", "1", *rate, "-x264-params", "nal-hrd=cbr", "-f", "flv", "-"]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def test_filler_of_a_constant_bitrate_goes_and_is_told_in_one_sum():
    recording = flv.record(padded())
    (content,) = recording.contents
    assert sum(tag.size for tag in flv.media(content)) < sum(tag.size for tag in flv.media(padded())) / 4
    assert decode(content, strict=True).pictures == decode(padded(), strict=True).pictures == 200
    (filler,) = recording.repairs
    assert filler.kind is RepairKind.FILLER
    assert filler.count == 8
    assert filler.amount == sum(tag.size for tag in flv.media(padded())) - sum(tag.size for tag in flv.media(content))

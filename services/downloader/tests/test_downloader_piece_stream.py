"""An endless MPEG-TS or fragmented MP4 whose connection breaks: what the next one repeats is there once, what nobody sent is told."""

import io
import subprocess
from itertools import pairwise
from types import SimpleNamespace

import av
import imageio_ffmpeg
import pytest
from media.fmp4.split import Mp4Splitter
from media.mpegts.split import TsSplitter

from services.downloader.adapters import piece_stream
from services.downloader.adapters.engine import GapClosed, GapOpened, Gaps, SegmentCompleted, StartPoint, Take
from services.downloader.adapters.piece_stream import PieceStream

GROUP_MS = 1000
GROUPS = 8
PICTURES = 10
"""In a group."""


def encoded(*arguments, source="testsrc2"):
    length = f"size=64x64:rate={PICTURES}"
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", f"{source}={length}",
        "-f", "lavfi", "-i", f"sine=sample_rate=44100:duration={GROUPS}", "-c:v", "libx264", "-preset", "veryfast", "-g", str(PICTURES),
        "-bf", "2", "-sc_threshold", "0", "-threads", "1", "-c:a", "aac", "-t", str(GROUPS), "-pix_fmt", "yuv420p", *arguments, "-",
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def transport_stream(*arguments, source="testsrc2"):
    """Its groups of pictures."""
    splitter = TsSplitter()
    return splitter.feed(encoded(*arguments, "-f", "mpegts", source=source)) + splitter.finish()


@pytest.fixture(scope="module")
def groups():
    pieces = transport_stream()
    assert len(pieces) == GROUPS
    return pieces


class Files(dict):
    def open(self, index, extension):
        class Kept(io.BytesIO):
            def close(kept):
                self[index] = kept.getvalue()
                super().close()

        return Kept()


class Stage:
    """A recording of one connection after the other, as the capture runs it."""

    def __init__(self):
        self.files, self.events = Files(), []
        self.gaps = Gaps(self.events.append)
        self.stream = PieceStream(Take(self.files.open, StartPoint(), self.gaps, self.events.append), stall_s=30)

    async def record(self, *connections):
        for data in connections:
            if self.stream.flowing:
                self.gaps.open(self.stream.here.position_ms, "the connection broke")
            self.stream.connected()
            for start in range(0, len(data), 5000):
                await self.stream.feed(data[start : start + 5000])
            await self.stream._writer._idle.wait()
        await self.stream.finish()

    def of(self, cls):
        return [event for event in self.events if isinstance(event, cls)]

    @property
    def media(self):
        """The packets of the one file behind its tables."""
        (data,) = self.files.values()
        return data[2 * 188 :]

    @property
    def lost(self):
        return [event.lost_ms for event in self.of(GapClosed)]


def times(data):
    """Of all pictures, in ms from the first one, in the order in which they are shown; each of them decodes."""
    with av.open(io.BytesIO(data)) as container:
        found = [frame.pts * frame.time_base * 1000 for frame in container.decode(video=0)]
    assert found == sorted(set(found))
    return [round(float(one - found[0])) for one in found]


def part(group, share):
    """What came of a group before its connection broke, by packets."""
    return group[: int(len(group) * share) // 188 * 188]


@pytest.mark.parametrize("again", [5, 4, 2], ids=["the torn group", "one more", "three more"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
async def test_what_the_next_connection_repeats_is_there_once_and_nothing_is_missing(groups, share, again):
    stage = Stage()
    await stage.record(b"".join(groups[:5]) + part(groups[5], share), b"".join(groups[again:]))
    # then it is the file that one connection makes, byte by byte, and a break that cost nothing
    assert stage.media == b"".join(groups)
    assert (len(stage.of(GapOpened)), stage.lost) == (1, [0])


async def test_what_nobody_repeats_is_kept_up_to_the_break_and_what_is_missing_is_told_once(groups):
    stage = Stage()
    await stage.record(b"".join(groups[:3]) + part(groups[3], 0.6), b"".join(groups[6:]))
    # then the beginning of the torn group is there, and the gap is as long as what is missing
    shown = times(stage.files[0])
    assert shown[:30] == list(range(0, 3000, 100))
    kept = [time for time in shown if 3000 <= time < 4000]
    assert 3 <= len(kept) <= 8
    assert [time for time in shown if time >= 4000] == list(range(6000, 8000, 100))
    assert (len(stage.of(GapOpened)), len(stage.lost)) == (1, 1)
    assert abs(stage.lost[0] - (6000 - kept[-1])) <= 200
    (completed,) = stage.of(SegmentCompleted)
    assert completed.duration_ms == pytest.approx(8000, abs=50)


async def test_the_longer_part_of_a_group_that_broke_twice_is_kept(groups):
    stage = Stage()
    torn = [part(groups[2], share) for share in (0.7, 0.4)]
    await stage.record(b"".join(groups[:2]) + torn[0], torn[1], b"".join(groups[4:]))
    assert stage.media == b"".join(groups[:2]) + torn[0] + b"".join(groups[4:])


async def test_a_part_of_one_picture_is_nothing(groups):
    stage = Stage()
    await stage.record(b"".join(groups[:2]) + groups[2][: 4 * 188], b"".join(groups[3:]))
    assert stage.media == b"".join(groups[:2]) + b"".join(groups[3:])
    assert stage.lost == [GROUP_MS]


async def test_a_torn_group_that_nothing_follows_is_in_the_file(groups):
    # given a second connection that brings nothing new
    stage = Stage()
    await stage.record(b"".join(groups[:3]) + part(groups[3], 0.5), b"".join(groups[:2]))
    assert stage.media == b"".join(groups[:3]) + part(groups[3], 0.5)


async def test_behind_another_clock_what_is_missing_is_what_the_wall_says(groups, monkeypatch):
    # given a source that is away for five seconds and comes back with another clock
    now = [1000.0]
    monkeypatch.setattr(piece_stream, "time", SimpleNamespace(monotonic=lambda: now[0]))
    stage, later = Stage(), transport_stream("-output_ts_offset", "5000")
    stage.stream.connected()
    await stage.stream.feed(b"".join(groups[:3]))
    await stage.stream._writer._idle.wait()
    stage.gaps.open(2000, "the connection broke")
    now[0] += 5.0
    stage.stream.connected()
    # when its media comes, some time after the connection stood
    for group in later[:3]:
        now[0] += 1.0
        await stage.stream.feed(group)
    await stage.stream.finish()
    # then five seconds are missing
    assert stage.lost == [5000]


async def test_a_muxer_that_begins_anew_with_each_connection_repeats_nothing():
    # given connections whose clock begins at the same place, with other media
    sources = [
        transport_stream(source="testsrc2"),
        transport_stream(source="testsrc"),
        transport_stream(source="mandelbrot"),
    ]
    stage = Stage()
    await stage.record(*(b"".join(one) for one in sources))
    # then all of it is there, in files that each play
    assert [len(times(stage.files[index])) for index in sorted(stage.files)] == [PICTURES * GROUPS] * 3


async def test_fragments_that_come_again_are_there_once():
    splitter = Mp4Splitter()
    init, *fragments = [
        cut.data
        for cut in splitter.feed(encoded("-movflags", "frag_keyframe+empty_moov+default_base_moof", "-f", "mp4"))
    ]
    stage = Stage()
    await stage.record(
        init + b"".join(fragments[:4]) + fragments[4][:3000],
        init + b"".join(fragments[2:5]),
        init + b"".join(fragments[6:]),
    )
    assert stage.lost == [0, GROUP_MS]
    shown = times(stage.files[0])
    assert shown == [*range(0, 5000, 100), *range(6000, 8000, 100)]
    assert all(later > earlier for earlier, later in pairwise(shown))

"""The writer: right bytes, few writes."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO, cast

from media.flv.tag import FlvHeader
from media.flv.writer import DEFAULT_BUFFER, FlvWriter, encode_header, encode_tag

from libs.media.tests import flv_streams as flv
from tests.deadline import DEADLINE_S

ROOT = Path(__file__).parents[3]


class CountingFile(io.BytesIO):
    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def write(self, data) -> int:
        self.sizes.append(len(data))
        return super().write(data)


class SlowFile(io.BytesIO):
    """Takes at most seven bytes per call, as an unbuffered file may."""

    def write(self, data) -> int:
        return super().write(bytes(data)[:7])


def test_media_reaches_the_file_in_few_large_writes():
    file = CountingFile()
    writer = FlvWriter(file, buffer_size=1 << 18)
    writer.start(FlvHeader())
    for n in range(2000):
        writer.write([flv.video(n * 40, n, extra=bytes(1000))])
        writer.settle()
    writer.finish()
    assert min(file.sizes[:-1]) >= 1 << 18
    assert len(file.sizes) <= 2 + 2000 * 1100 // (1 << 18)


def test_much_at_once_is_written_before_it_is_too_much():
    file = CountingFile()
    writer = FlvWriter(file, buffer_size=1)
    writer.start(FlvHeader())
    for n in range(300):
        writer.write([flv.video(n * 40, n, extra=bytes(10_000))])
    assert len(file.sizes) == 2
    assert min(file.sizes) >= DEFAULT_BUFFER


def test_a_file_that_takes_only_part_of_a_write_gets_all_of_it():
    source = flv.gops(0, range(2))
    file = SlowFile()
    writer = FlvWriter(file)
    writer.start(FlvHeader())
    writer.write(source)
    writer.finish()
    assert file.getvalue() == flv.stream(*source, headers=False)


def test_an_unbuffered_file_gets_the_same_bytes_as_any_other(tmp_path: Path):
    source = flv.gops(0, range(60))  # more parts than one system call takes
    with io.FileIO(tmp_path / "x.flv", "x") as file:
        writer = FlvWriter(cast(BinaryIO, file))
        writer.start(FlvHeader())
        writer.write(source[:100])
        writer.flush()
        writer.write(source[100:])
        writer.overwrite(0, encode_header(FlvHeader(flags=4)))
        size = writer.finish()
    content = (tmp_path / "x.flv").read_bytes()
    assert content == encode_header(FlvHeader(flags=4)) + flv.stream(*source, headers=False)[9:]
    assert size == len(content)


def test_a_full_disk_in_the_middle_of_a_write_is_an_error_and_no_hole(tmp_path: Path):
    script = f"""
import io, resource, signal, sys
from media.flv.tag import FlvHeader
from media.flv.writer import FlvWriter
from libs.media.tests import flv_streams as flv
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
writer = FlvWriter(io.FileIO({str(tmp_path / "x.flv")!r}, "x"))
writer.start(FlvHeader())
writer.write(flv.gops(0, range(60)))
try:
    writer.flush()
except OSError as error:
    sys.exit(error.errno)
"""
    ended = subprocess.run([sys.executable, "-c", script], check=False, cwd=ROOT, timeout=DEADLINE_S)
    assert ended.returncode == errno.EFBIG
    assert (tmp_path / "x.flv").read_bytes() == flv.stream(*flv.gops(0, range(60)), headers=False)[:10_000]


def test_little_waits_for_more_until_it_is_worth_a_write():
    file = CountingFile()
    writer = FlvWriter(file, buffer_size=5000)
    writer.start(FlvHeader())
    writer.write([flv.video(0, 1, extra=bytes(3000))])
    writer.settle()
    assert file.sizes == []
    writer.write([flv.video(40, 2, extra=bytes(3000))])
    assert file.sizes == []
    writer.settle()
    assert [size > 6000 for size in file.sizes] == [True]


def test_keyframes_are_reported_where_they_stand():
    source = flv.gops(500, range(3))
    file = io.BytesIO()
    writer = FlvWriter(file)
    writer.start(FlvHeader())
    keyframes = writer.write(source, base=500)
    writer.finish()
    found = [(time, flv.parse(file.getvalue()[position:])[0].is_keyframe) for time, position in keyframes]
    assert found == [(0, True), (400, True), (800, True)]


def test_overwriting_keeps_the_place_and_the_order():
    file = io.BytesIO()
    writer = FlvWriter(file)
    writer.start(FlvHeader(flags=5))
    writer.write([flv.audio(0, 1)])
    writer.overwrite(0, encode_header(FlvHeader(flags=4)))
    writer.write([flv.audio(23, 2)])
    size = writer.finish()
    assert flv.parse(file.getvalue()) == [FlvHeader(flags=4), flv.audio(0, 1), flv.audio(23, 2)]
    assert size == len(file.getvalue()) == writer.position


def test_a_single_tag_is_encoded_as_in_a_file():
    tag = flv.video(0x89ABCDEF, 1)
    assert encode_tag(tag) == flv.raw(tag)

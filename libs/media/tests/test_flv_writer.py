"""The writer: right bytes, few writes."""

from __future__ import annotations

import io

from media.flv.tag import FlvHeader
from media.flv.writer import FlvWriter, encode_header, encode_tag

from libs.media.tests import flv_streams as flv


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
    writer.finish()
    assert min(file.sizes[:-1]) >= 1 << 18
    assert len(file.sizes) <= 2 + 2000 * 1100 // (1 << 18)


def test_a_file_that_takes_only_part_of_a_write_gets_all_of_it():
    source = flv.gops(0, range(2))
    file = SlowFile()
    writer = FlvWriter(file)
    writer.start(FlvHeader())
    writer.write(source)
    writer.finish()
    assert file.getvalue() == flv.stream(*source, headers=False)


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

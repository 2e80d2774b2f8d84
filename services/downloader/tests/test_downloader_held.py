"""Media that a standby holds: bounded, in order, whole, and joined behind what another owner wrote."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from media.flv.recorder import FlvRecorder
from media.flv.tag import VIDEO, Tag
from media.hls import Discontinuity, Init, InitSection, Media, MissingMedia, PlanCursor, SegmentTask
from media.repair.replay import mark

from libs.media.tests import flv_streams as flv
from services.downloader.adapters.held_flv import HeldFlv
from services.downloader.adapters.held_hls import HeldHls
from services.downloader.adapters.spill import BLOCK_BYTES, Spill

GOP_TAGS = 28


def recorded(held: HeldFlv, rest: bytes = b"") -> list[Tag]:
    files: list[flv.MemoryFile] = []

    def open_file(_: int) -> flv.MemoryFile:
        files.append(flv.MemoryFile())
        return files[-1]

    recorder = FlvRecorder(open_file)
    for number, piece in enumerate(held.pieces()):
        if piece.begins and number:
            recorder.reconnected()
        recorder.feed(piece.data, piece.at)
    recorder.feed(held.rest() + rest)
    recorder.finish()
    held.close()
    return [tag for file in files for tag in flv.media(file.content)]


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_is_held_is_what_came_and_the_connection_goes_on_behind_it(tmp_path: Path, on_disk: bool) -> None:
    source = flv.gops(0, range(6))
    data = flv.stream(*source)
    held = HeldFlv(Spill(tmp_path / "spill" if on_disk else None), max_bytes=1 << 30)
    # given a connection that was cut into pieces anywhere
    for at in range(0, len(data) - 40, 177):
        held.feed(data[at : min(at + 177, len(data) - 40)], 1.0)
    assert held.first_mark == mark(source[0])
    # then what is held and the rest of the connection are the whole of it
    assert recorded(held, data[-40:]) == source


def test_the_oldest_groups_go_first_and_what_is_left_can_be_played(tmp_path: Path) -> None:
    source = flv.gops(0, range(40))
    held = HeldFlv(Spill(tmp_path), max_bytes=6 * len(flv.stream(*source[:GOP_TAGS])))
    held.feed(flv.stream(*source), 1.0)
    assert held.size <= 7 * len(flv.stream(*source[:GOP_TAGS]))
    left = recorded(held)
    first = len(source) - len(left)
    assert first > 0
    assert first % GOP_TAGS == 0
    assert [bytes(tag.payload) for tag in left] == [bytes(tag.payload) for tag in source[first:]]


def test_media_before_a_moment_is_forgotten_by_whole_groups() -> None:
    source = flv.gops(0, range(8))
    held = HeldFlv(Spill(None), max_bytes=1 << 30)
    for n in range(8):
        data = b"".join(flv.raw(tag) for tag in source[n * GOP_TAGS : (n + 1) * GOP_TAGS])
        held.feed((flv.stream() if n == 0 else b"") + data, float(n))
    held.forget_before(5.0)
    assert held.first_mark == mark(source[4 * GOP_TAGS])
    assert [bytes(tag.payload) for tag in recorded(held)] == [bytes(tag.payload) for tag in source[4 * GOP_TAGS :]]


def test_the_groups_that_are_whole_are_known_by_their_keyframes_as_they_stand_in_files() -> None:
    # given frames padded with filler, which no file has
    filler, size = flv.nal(12, b"\xff" * 40), GOP_TAGS
    plain = flv.gops(0, range(9))
    source = [
        flv.video(tag.timestamp, n, key=tag.is_keyframe, extra=filler) if tag.type == VIDEO else tag
        for n, tag in enumerate(plain)
    ]
    wanted = [mark(flv.video(0, n * size, key=True)) for n in range(9)]
    held = HeldFlv(Spill(None), max_bytes=1 << 30)

    def held_groups() -> list[int]:
        return [n for n, one in enumerate(wanted) if held.holds_group(one)]

    # when a connection breaks in the middle of the fourth group, and the next one begins with the sixth
    held.feed(flv.stream(*source[: 3 * size + 9]), 1.0)
    assert held_groups() == [0, 1, 2, 3]
    held.reconnected()
    held.reconnected()
    # then nobody has the fourth one whole
    assert held_groups() == [0, 1, 2]
    held.feed(flv.stream(*source[5 * size : 6 * size]), 2.0)
    for n in (6, 7, 8):
        held.feed(b"".join(flv.raw(tag) for tag in source[n * size : (n + 1) * size]), float(n))
    assert held_groups() == [0, 1, 2, 5, 6, 7, 8]
    # and what is forgotten is not held
    held.forget_before(7.5)
    assert held_groups() == [7, 8]


def test_a_second_connection_is_told_as_one() -> None:
    source = flv.gops(0, range(8))
    held = HeldFlv(Spill(None), max_bytes=1 << 30)
    held.feed(flv.stream(*source[: 4 * GOP_TAGS + 5]), 1.0)
    held.reconnected()
    held.feed(flv.stream(*source[3 * GOP_TAGS :]), 2.0)
    assert recorded(held) == source


def test_bytes_that_wait_give_their_room_back(tmp_path: Path) -> None:
    spill = Spill(tmp_path)
    refs = [spill.put(bytes([n]) * (BLOCK_BYTES // 4)) for n in range(12)]
    assert [spill.take(ref)[:1] for ref in refs] == [bytes([n]) for n in range(12)]
    assert spill.size == 0
    assert all(ref.block.file.closed for ref in refs[:8])
    spill.close()
    assert refs[-1].block.file.closed
    assert list(tmp_path.iterdir()) == []


def segment(sequence: int, data: bytes = b"x") -> Media:
    cursor = PlanCursor(sequence, f"/{sequence}.ts")
    return Media(SegmentTask(sequence, sequence, f"http://example.org/{sequence}.ts", 2.0, cursor), data)


def hls(*sequences: int) -> HeldHls:
    held = HeldHls(Spill(None), max_bytes=1 << 20)
    held.put(Init(InitSection("http://example.org/init.mp4"), b"init"), 0.0)
    for n, sequence in enumerate(sequences):
        held.put(segment(sequence), float(n))
    return held


def told(held: HeldHls) -> list[object]:
    return [one.task.sequence if isinstance(one, Media) else type(one) for one in held.items()]


def test_hls_goes_on_behind_the_cursor_with_the_section_in_force() -> None:
    held = hls(4, 5, 6, 7)
    assert held.first_sequence == 4
    assert held.join_behind(PlanCursor(5, "/5.ts"), 0.0)
    assert told(held) == [Init, 6, 7]


def test_hls_that_begins_right_behind_the_cursor_misses_nothing_and_later_tells_the_hole() -> None:
    held = hls(6, 7)
    assert held.join_behind(PlanCursor(5, "/5.ts"), 0.0)
    assert told(held) == [Init, 6, 7]
    held = hls(8, 9)
    assert held.join_behind(PlanCursor(5, "/5.ts"), 0.0)
    items = list(held.items())
    hole = next(one for one in items if isinstance(one, MissingMedia))
    assert (hole.first_sequence, hole.last_sequence, hole.duration_ms) == (6, 7, 4000)


def test_hls_without_common_numbers_is_joined_by_the_clock() -> None:
    held = hls(1, 2, 3, 4)
    assert not held.join_behind(PlanCursor(3, "/another/numbering.ts"), 2.0)
    assert told(held) == [Init, 2, 3, 4]


def test_hls_holds_no_more_than_it_may() -> None:
    held = HeldHls(Spill(None), max_bytes=10)
    held.put(Discontinuity(), 0.0)
    for n in range(30):
        held.put(segment(n, b"abc"), float(n))
    assert told(held) == [27, 28, 29]


def test_files_in_memory_are_files(tmp_path: Path) -> None:
    spill = Spill(None)
    ref = spill.put(bytearray(b"abc"))
    assert isinstance(ref.block.file, io.BytesIO)
    assert spill.take(ref) == b"abc"
    spill.close()

"""The shared buffer: what is taken from it stays as it was, and few buffers do."""

from __future__ import annotations

import random

from services.downloader.adapters.scratch import LARGE, MOST, SIZE, Scratch


def received(scratch: Scratch, data: bytes) -> bytes | memoryview:
    scratch.view[: len(data)] = data
    return scratch.take([scratch.view[: len(data)]])


def test_what_was_taken_never_changes() -> None:
    scratch, chance = Scratch(), random.Random(1)
    kept: list[tuple[bytes, bytes | memoryview]] = []
    for number in range(60):
        data = bytes([number]) * chance.choice([100, LARGE - 1, LARGE, SIZE])
        kept.append((data, received(scratch, data)))
        if chance.random() < 0.7:
            del kept[chance.randrange(len(kept))]
    assert len(kept) > 5
    assert all(taken == data for data, taken in kept)


def test_a_part_of_a_view_keeps_its_bytes_too() -> None:
    scratch = Scratch()
    part = memoryview(received(scratch, b"a" * SIZE))[1000:1010]
    for _ in range(10):
        received(scratch, b"b" * SIZE)
    assert part == b"a" * 10


def test_buffers_that_nobody_looks_at_are_received_into_again() -> None:
    scratch = Scratch()
    places: set[int] = set()
    before: bytes | memoryview = b""
    for number in range(50):
        places.add(id(scratch.view.obj))
        taken = received(scratch, bytes([number]) * SIZE)
        assert isinstance(taken, memoryview)
        assert taken.readonly
        before = taken
    assert len(places) <= 3
    assert before[0] == 49


def test_when_many_are_in_use_what_comes_is_copied() -> None:
    scratch = Scratch()
    taken = [received(scratch, bytes([number]) * SIZE) for number in range(20)]
    assert sum(isinstance(one, memoryview) for one in taken) == MOST
    assert [one[0] for one in taken] == list(range(20))
    taken.clear()
    assert isinstance(received(scratch, b"x" * SIZE), memoryview)


def test_little_is_copied_and_keeps_no_buffer() -> None:
    scratch = Scratch()
    place = id(scratch.view.obj)
    taken = [received(scratch, b"x" * (LARGE - 1)) for _ in range(5)]
    assert all(isinstance(one, bytes) for one in taken)
    assert id(scratch.view.obj) == place


def test_several_parts_become_one() -> None:
    scratch = Scratch()
    scratch.view[:10] = b"0123456789"
    assert scratch.take([scratch.view[1:3], scratch.view[5:9]]) == b"125678"

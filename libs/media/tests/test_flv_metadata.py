"""`onMetaData` with reserved room: constant size, an index that always covers the file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media.flv.amf0 import EcmaArray, encode_all
from media.flv.metadata import KeyframeIndex, carried_fields, encode_metadata, read_metadata, reserved_room


def filled(room: int, count: int, spacing: int = 2000) -> KeyframeIndex:
    index = KeyframeIndex(room)
    for n in range(count):
        index.add(n * spacing, 100 + n)
    return index


@given(st.integers(2, 40), st.integers(0, 300))
def test_the_size_does_not_depend_on_the_number_of_entries(room, count):
    fields = {"encoder": "x", "width": 640.0}
    empty = encode_metadata(fields, KeyframeIndex(room), duration_ms=0, file_size=0)
    full = encode_metadata(fields, filled(room, count), duration_ms=2**31, file_size=2**40)
    assert len(full.payload) == len(empty.payload)
    assert not any(full.payload[full.used : -6])
    read = read_metadata(full.payload)
    assert reserved_room(read) == room
    assert (read["filesize"], read["duration"], read["encoder"]) == (2.0**40, 2**31 / 1000, "x")


@given(st.integers(2, 50), st.lists(st.integers(100, 5000), max_size=400))
def test_the_index_always_covers_the_whole_file_evenly(room, steps):
    index, now = KeyframeIndex(room), 0
    for n, step in enumerate(steps):
        index.add(now, n)
        now += step
    assert len(index.times) == len(index.positions) <= room
    assert index.times == sorted(index.times)
    if steps:
        assert index.times[0] == 0
        # No hole is wider than twice the even spacing and one group.
        widest = max([*(b - a for a, b in zip(index.times, index.times[1:], strict=False)), now - index.times[-1]])
        assert widest <= max(4 * now / room, 1900) + 5000


def test_a_full_index_drops_every_second_entry_and_keeps_its_positions_true():
    index = filled(4, 9)
    assert index.times == [0, 8000, 16_000]
    assert index.positions == [100, 104, 108]


@pytest.mark.parametrize("value", [{"width": 1.0}, EcmaArray(width=1.0)])
def test_object_and_array_are_both_read_and_so_is_the_rtmp_wrapper(value):
    assert read_metadata(encode_all(["onMetaData", value])) == {"width": 1.0}
    assert read_metadata(encode_all(["@setDataFrame", "onMetaData", value])) == {"width": 1.0}
    assert read_metadata(encode_all(["onMetaData", value, None])) == {"width": 1.0}


@pytest.mark.parametrize("values", [[], ["onMetaData"], ["onMetaData", 1.0], ["onTextData", {}], [{}, "onMetaData"]])
def test_other_scripts_are_not_metadata(values):
    assert read_metadata(encode_all(values)) is None


def test_fields_that_a_new_file_makes_untrue_or_that_are_absurdly_large_are_not_carried():
    assert carried_fields({"duration": 1.0, "filesize": 2.0, "keyframes": {}, "fps": 30.0}) == {"fps": 30.0}
    assert carried_fields({"comment": "x" * 70_000}) == {}
    assert carried_fields({"n" * 70_000: 1.0}) == {}


def test_room_is_told_only_where_it_was_reserved():
    assert reserved_room({}) is None
    assert reserved_room({"keyframes": {"times": [1.0], "filepositions": [2.0]}}) is None

"""Fields of JSON from strangers: read where they are what they should be, absent where not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters.json_fields import (
    count_at,
    dig,
    list_at,
    moment_at,
    number_at,
    object_at,
    parse_json,
    text_at,
)

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
PATHS = st.lists(st.sampled_from(["a", "b", "c", 0, 1, -1, -9]), max_size=4)


def test_paths_go_through_objects_and_arrays() -> None:
    value = {"a": [{"b": "found"}]}

    assert dig(value, "a", 0, "b") == "found"
    assert dig(value, "a", -1, "b") == "found"
    assert dig(value, "a", 1, "b") is None
    assert dig(value, "a", "b") is None


@pytest.mark.parametrize(
    ("found", "text", "number", "count"),
    [
        ("abc", "abc", 0, 0),
        (12, "12", 12, 12),
        ("-12", "-12", -12, 0),
        (1.9, "", 1, 1),
        (True, "", 0, 0),
        (None, "", 0, 0),
        (1 << 70, "", 0, 0),
        ("9" * 30, "9" * 30, 0, 0),
        ("²", "²", 0, 0),
        ("٣", "٣", 0, 0),
        (float("nan"), "", 0, 0),
        ([1], "", 0, 0),
    ],
)
def test_texts_and_numbers(found: object, text: str, number: int, count: int) -> None:
    assert (text_at(found), number_at(found), count_at(found)) == (text, number, count)


@pytest.mark.parametrize(
    ("found", "moment"),
    [
        ("2025-06-15T15:06:40+00:00", 1_750_000_000_000),
        ("2025-06-15T15:06:40.123456789Z", 1_750_000_000_123),
        ("2025-06-15T17:06:40+02:00", 1_750_000_000_000),
        ("2025-06-15 15:06:40", 1_750_000_000_000),
        ("1950-01-01", 0),
        ("yesterday", 0),
        (5, 0),
        ("9" * 100, 0),
        ("0001-01-01T00:00:00+23:59", 0),
    ],
)
def test_moments(found: object, moment: int) -> None:
    assert moment_at(found) == moment


@given(ANYTHING, PATHS)
def test_nothing_raises(value: object, path: list[str | int]) -> None:
    assert isinstance(text_at(value, *path, limit=4), str)
    assert len(text_at(value, *path, limit=4)) <= 20
    assert abs(number_at(value, *path)) < 1 << 63
    assert isinstance(object_at(value, *path), dict)
    assert len(list_at(value, *path, limit=2)) <= 2
    assert moment_at(value, *path) >= 0


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 10_000, "nul"])
def test_no_json_is_none(data: bytes | str) -> None:
    assert parse_json(data) is None

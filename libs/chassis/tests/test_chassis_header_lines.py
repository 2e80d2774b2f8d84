"""The short way from stored headers to lines gives what the long way through a dictionary gives."""

from __future__ import annotations

import json

import pytest
from chassis import wire
from hypothesis import given
from hypothesis import strategies as st

HEADERS = st.dictionaries(
    st.text(st.sampled_from("abcXYZ-"), min_size=1, max_size=12),
    st.text(st.one_of(st.sampled_from('":, {}\\\r\n'), st.characters(exclude_categories=["Cs"])), max_size=30),
    max_size=6,
)


@given(HEADERS)
def test_both_ways_agree(headers: dict[str, str]) -> None:
    # given headers as PostgreSQL prints a jsonb
    text = json.dumps(headers, ensure_ascii=False)
    # then
    assert wire.stored_header_lines(text) == wire.header_lines(headers)


@pytest.mark.parametrize(
    ("headers", "lines"),
    [
        ({}, ""),
        ({"a": ""}, "a: \r\n"),
        ({"a": "1", "b": "2"}, "a: 1\r\nb: 2\r\n"),
        ({"a": 'say "b": "c"'}, 'a: say "b": "c"\r\n'),
        ({"a": 'x", "Nats-Rollup": "all'}, 'a: x", "Nats-Rollup": "all\r\n'),
        ({"a": "1\r\nNats-Rollup: all"}, "a: 1  Nats-Rollup: all\r\n"),
    ],
)
def test_no_value_becomes_a_header(headers: dict[str, str], lines: str) -> None:
    assert wire.stored_header_lines(json.dumps(headers)) == lines

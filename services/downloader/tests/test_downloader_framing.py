"""Where a body ends: by length, chunks, or with the connection; whatever the reads, and whoever lies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.downloader.adapters.framing import (
    MAX_LINE,
    MAX_TRAILERS,
    BadFraming,
    Chunked,
    Framing,
    OfLength,
    UntilClosed,
)

SIZE = st.integers(1, 40)
EXTENSION = st.sampled_from([b"", b";a=b", b' ; name="quoted"', b"\t", b";" + b"x" * 100])
LINE_END = st.sampled_from([b"\r\n", b"\n"])
TRAILERS = st.lists(st.sampled_from([b"Digest: x", b"X: " + b"y" * 300]), max_size=3)


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body and its chunked coding, as RFC 9112 allows it."""
    coded, body = b"", b""
    for data in draw(st.lists(st.binary(min_size=1, max_size=300), max_size=8)):
        digits = draw(st.sampled_from([b"%x", b"%X", b"%08x"])) % len(data)
        coded += digits + draw(EXTENSION) + draw(LINE_END) + data + draw(LINE_END)
        body += data
    coded += draw(st.sampled_from([b"0", b"000"])) + draw(EXTENSION) + b"\r\n"
    coded += b"".join(line + b"\r\n" for line in draw(TRAILERS)) + draw(LINE_END)
    return body, coded


def fed(framing: Framing, data: bytes, sizes: list[int]) -> bytes:
    """The body that comes of data in reads of these sizes, over and over."""
    body, at, turn = b"", 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)] if sizes else len(data)
        body += b"".join(framing.feed(memoryview(data)[at : at + size]))
        at, turn = at + size, turn + 1
    return body


def outcome(data: bytes, sizes: list[int]) -> tuple[bytes, bool, str]:
    framing, body = Chunked(), b""
    at, turn = 0, 0
    try:
        while at < len(data):
            size = sizes[turn % len(sizes)] if sizes else len(data)
            body += b"".join(framing.feed(memoryview(data)[at : at + size]))
            at, turn = at + size, turn + 1
    except BadFraming as error:
        return b"", False, str(error)
    return body, framing.done, ""


@given(chunked(), st.lists(SIZE, max_size=6))
def test_a_chunked_body_is_the_same_however_it_is_read(case: tuple[bytes, bytes], sizes: list[int]) -> None:
    body, coded = case
    framing = Chunked()
    assert fed(framing, coded, sizes) == body
    assert framing.done
    assert framing.may_end


@given(chunked(), st.data())
def test_a_chunked_body_that_breaks_off_anywhere_is_not_whole(case: tuple[bytes, bytes], data: st.DataObject) -> None:
    body, coded = case
    end = data.draw(st.integers(0, len(coded) - 1))
    framing = Chunked()
    assert body.startswith(fed(framing, coded[:end], [7]))
    assert not framing.done
    assert not framing.may_end


@given(st.binary(max_size=200), st.lists(SIZE, min_size=1, max_size=4))
def test_garbage_comes_to_the_same_however_it_is_read(data: bytes, sizes: list[int]) -> None:
    assert outcome(data, sizes) == outcome(data, [])


@given(st.text("0123456789abcdefx;\r\n \x00", max_size=40), st.lists(SIZE, min_size=1, max_size=4))
def test_what_looks_like_chunks_comes_to_the_same_however_it_is_read(text: str, sizes: list[int]) -> None:
    assert outcome(text.encode(), sizes) == outcome(text.encode(), [])


@pytest.mark.parametrize(
    "coded",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+5\r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"1_0\r\n",
        b"5\rhello\r\n",
        b"5;\x00\r\n",
        b"5 a\r\n",
        b"f" * 16 + b"\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"0\r\nX: \x00\r\n\r\n",
        b"5;" + b"a" * MAX_LINE,
        b"0\r\n" + (b"X: " + b"y" * 8000 + b"\r\n") * (MAX_TRAILERS // 8000 + 1),
    ],
)
@pytest.mark.parametrize("sizes", [[], [1], [1000]])
def test_broken_chunks_are_refused(coded: bytes, sizes: list[int]) -> None:
    assert outcome(coded, sizes)[2]


def test_what_follows_a_chunked_body_is_none_of_it() -> None:
    framing = Chunked()
    assert fed(framing, b"2\r\nab\r\n0\r\n\r\n5\r\nhello", []) == b"ab"
    assert framing.feed(memoryview(b"5\r\nhello")) == []


@given(st.binary(max_size=100), st.integers(0, 120), st.lists(SIZE, min_size=1, max_size=4))
def test_a_body_of_a_length_is_that_long(data: bytes, length: int, sizes: list[int]) -> None:
    framing = OfLength(length)
    assert fed(framing, data, sizes) == data[:length]
    assert framing.done == framing.may_end == (len(data) >= length)


def test_the_end_of_the_connection_may_end_a_body_anywhere() -> None:
    framing = UntilClosed()
    assert fed(framing, b"anything", [3]) == b"anything"
    assert framing.may_end
    assert not framing.done


def test_parts_are_views_and_no_copies() -> None:
    data = memoryview(bytearray(b"3\r\nabc\r\n"))
    parts = [*Chunked().feed(data), *OfLength(2).feed(data), *UntilClosed().feed(data)]
    assert [part.obj is data.obj for part in parts] == [True] * 3

"""AMF0 values: what goes in comes out, and what comes from outside is bounded."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media.flv.amf0 import (
    MAX_DEPTH,
    UNDEFINED,
    UNSUPPORTED,
    Date,
    EcmaArray,
    Reference,
    TypedObject,
    XmlDocument,
    decode_all,
    encode_all,
    encode_elements,
)
from media.flv.errors import AmfError

names = st.text(min_size=1, max_size=12)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False),
    st.text(max_size=40),
    st.just(UNDEFINED),
    st.just(UNSUPPORTED),
    st.builds(Date, st.floats(allow_nan=False), st.integers(-720, 720)),
    st.builds(Reference, st.integers(0, 65535)),
    st.builds(XmlDocument, st.text(max_size=20)),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(names, inner, max_size=4),
        st.dictionaries(names, inner, max_size=4).map(EcmaArray),
        st.builds(TypedObject, names, st.dictionaries(names, inner, max_size=3)),
    ),
    max_leaves=20,
)


@given(st.lists(values, max_size=4))
def test_every_value_survives_a_round_trip_with_its_type(sent):
    received = decode_all(encode_all(sent))
    assert received == sent
    assert [type(value) for value in received] == [type(value) for value in sent]
    assert encode_all(received) == encode_all(sent)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data):
    with suppress(AmfError):
        decode_all(data)


@given(scalars, st.data())
def test_a_truncated_value_is_refused(sent, data):
    encoded = encode_all([sent])
    cut = data.draw(st.integers(0, len(encoded) - 1))
    if cut == 0:
        assert decode_all(b"") == []
        return
    with pytest.raises(AmfError):
        decode_all(encoded[:cut])


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        ("00 3ff0000000000000", 1.0),
        ("01 01", True),
        ("02 0003 616263", "abc"),
        ("03 0001 61 05 0001 62 06 0000 09", {"a": None, "b": UNDEFINED}),
        ("07 0002", Reference(2)),
        ("08 00000000 0001 61 01 00 0000 09", EcmaArray(a=False)),
        ("0a 00000002 05 02 0000", [None, ""]),
        ("0b 0000000000000000 ffc4", Date(0.0, -60)),
        ("0c 00000001 78", "x"),
        ("0d", UNSUPPORTED),
        ("0f 00000004 3c612f3e", XmlDocument("<a/>")),
        ("10 0001 43 0001 61 05 0000 09", TypedObject("C", {"a": None})),
    ],
)
def test_each_marker_of_the_specification_is_read(encoded, value):
    assert decode_all(bytes.fromhex(encoded)) == [value]


def test_text_above_65535_bytes_becomes_a_long_string():
    text = "é" * 40_000
    encoded = encode_all([text])
    assert encoded[0] == 12
    assert decode_all(encoded) == [text]


def test_text_that_is_not_utf8_survives():
    gbk = b"\x02\x00\x04" + "直播".encode("gbk")
    assert encode_all(decode_all(gbk)) == gbk


def test_an_array_that_lacks_its_end_marker_ends_with_the_message():
    assert decode_all(bytes.fromhex("08 00000001 0001 61 01 01")) == [EcmaArray(a=True)]


def test_a_number_array_is_read_as_numbers_and_a_mixed_one_as_it_is():
    assert decode_all(b"\x0a\x00\x00\x00\x02" + encode_elements([1, 2.5])) == [[1.0, 2.5]]
    assert decode_all(encode_all([[1.0, "x", 2.0]])) == [[1.0, "x", 2.0]]


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a" * 5 * (MAX_DEPTH + 2),
        b"\x0a\xff\xff\xff\xff",
        (b"\x0a\x00\x00\x00\x01") * (MAX_DEPTH + 2) + b"\x05",
        b"\x04",
        b"\x11",
        b"\x00\x00",
        b"\x02\x00\x09abc",
    ],
)
def test_too_deep_too_long_unknown_and_truncated_values_are_refused(data):
    with pytest.raises(AmfError):
        decode_all(data)


def test_more_values_than_the_budget_are_refused():
    with pytest.raises(AmfError, match="too many"):
        decode_all(b"\x05" * 200_001)


def test_values_that_amf0_cannot_say_are_refused():
    nested: list = []
    for _ in range(MAX_DEPTH + 2):
        nested = [nested]
    with pytest.raises(AmfError, match="deeply"):
        encode_all([nested])
    with pytest.raises(AmfError, match="name too long"):
        encode_all([{"n" * 65536: 1}])
    with pytest.raises(AmfError, match="cannot say"):
        encode_all([object()])


def test_the_typed_object_of_another_class_is_another_value():
    assert TypedObject("A", {"x": 1.0}) != TypedObject("B", {"x": 1.0})


def test_a_nan_survives_as_bits():
    data = b"\x00" + struct.pack(">Q", 0x7FF8000000000001)
    assert encode_all(decode_all(data)) == data

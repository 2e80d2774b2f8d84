"""A chat message survives its JSON line, whatever it holds."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media.chat.message import (
    MAX_LINE_BYTES,
    Badge,
    ChatMessage,
    Emote,
    InvalidLine,
    MessageKind,
    decode_line,
    encode_line,
)

ANY_TEXT = st.text(st.characters(), max_size=40)  # with surrogates, control characters and everything else
NUMBER = st.integers(-(1 << 63), (1 << 63) - 1)

MESSAGES = st.builds(
    ChatMessage,
    kind=st.sampled_from(MessageKind),
    received_at=NUMBER,
    badges=st.lists(st.builds(Badge, ANY_TEXT, ANY_TEXT, NUMBER), max_size=3).map(tuple),
    emotes=st.lists(
        st.builds(Emote, ANY_TEXT, ANY_TEXT, ANY_TEXT, st.lists(NUMBER, max_size=2).map(tuple)), max_size=3
    ).map(tuple),
    **{
        name: ANY_TEXT if isinstance(default, str) else NUMBER
        for name, default in ChatMessage._field_defaults.items()
        if name not in ("badges", "emotes")
    },
)


@given(MESSAGES)
def test_any_message_survives_its_line(message: ChatMessage) -> None:
    line = encode_line(message)

    assert decode_line(line) == message
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


@given(MESSAGES)
def test_a_line_is_what_any_json_reader_reads(message: ChatMessage) -> None:
    data = json.loads(encode_line(message).decode("utf-8", "strict"))

    assert data["kind"] == message.kind.value
    assert data["user"] == message.user
    assert data["text"] == message.text


def test_a_line_names_only_what_differs_from_the_defaults() -> None:
    line = encode_line(ChatMessage(MessageKind.JOIN, 5, user="Ann"))

    assert json.loads(line) == {
        "kind": "join",
        "received_at": 5,
        "sent_at": 0,
        "id": "",
        "user": "Ann",
        "uid": "",
        "text": "",
    }


def test_pictures_are_named_by_themselves_and_their_places_beside_them() -> None:
    kappa, wave = Emote("Kappa", "https://e/25", "25", (0, 6)), Emote("[wave]", id="w")
    data = json.loads(encode_line(ChatMessage(MessageKind.CHAT, 1, text="Kappa Kappa [wave]", emotes=(kappa, wave))))
    without = json.loads(encode_line(ChatMessage(MessageKind.CHAT, 1, text="[wave]", emotes=(wave,))))

    assert data["emotes"] == [["Kappa", "https://e/25", "25"], ["[wave]", "", "w"]]
    assert data["emotes_at"] == [[0, 6], []]
    assert "emotes_at" not in without


def test_ordinary_text_stays_readable_in_the_line() -> None:
    assert "白花300块 🎉".encode() in encode_line(ChatMessage(MessageKind.CHAT, 1, text="白花300块 🎉"))


def test_a_field_of_a_later_version_is_ignored() -> None:
    line = b'{"kind":"chat","received_at":1,"text":"hi","mood":"good"}'

    assert decode_line(line) == ChatMessage(MessageKind.CHAT, 1, text="hi")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"\xff\xfe",
        b'{"kind":"chat"}',
        b'{"kind":"dance","received_at":1}',
        b'{"kind":["chat"],"received_at":1}',
        b'{"kind":"chat","received_at":"1"}',
        b'{"kind":"chat","received_at":true}',
        b'{"kind":"chat","received_at":1,"text":5}',
        b'{"kind":"chat","received_at":1,"badges":[1]}',
        b'{"kind":"chat","received_at":1,"emotes":7}',
        b'{"kind":"chat","received_at":1,"emotes":[["a","",""]],"emotes_at":[["0"]]}',
        b'{"kind":"chat","received_at":1,"emotes":[],"emotes_at":[[1]]}',
        b'{"kind":"chat","received_at":1',
        b"[" * 100_000,
        b'{"kind":"chat","received_at":1,"text":"' + b"x" * MAX_LINE_BYTES + b'"}',
    ],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidLine):
        decode_line(line)


@given(st.binary(max_size=60) | st.recursive(st.none() | st.integers() | ANY_TEXT, st.lists).map(json.dumps))
def test_any_bytes_are_a_message_or_an_invalid_line(line: bytes | str) -> None:
    try:
        message = decode_line(line)
    except InvalidLine:
        return
    assert isinstance(message, ChatMessage)

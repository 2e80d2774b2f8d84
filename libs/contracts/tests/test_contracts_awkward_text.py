"""Text that some part of the way cannot carry as it is."""

from __future__ import annotations

import json

import pytest
from contracts import subjects
from contracts.config import StreamerChanged
from contracts.envelope import Envelope, Metadata, wrap
from contracts.registry import load_vocabulary
from uuid_utils.compat import uuid7


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\0b", "a�b"),
        ("\0\0", "��"),
        ("\\\0", "\\�"),
        ("\\u0000", "\\u0000"),
        ("\\\\u0000", "\\\\u0000"),
        ("\\\\\0", "\\\\�"),
        ("u0000", "u0000"),
        ("plain\n\"'\t主播", "plain\n\"'\t主播"),
    ],
)
def test_a_body_never_holds_a_zero_character_and_is_otherwise_unchanged(text: str, kept: str) -> None:
    message = StreamerChanged(streamer_id="s1", name=text)
    assert json.loads(message.to_json())["name"] == kept
    assert StreamerChanged.from_json(message.to_json()).name == kept


@pytest.mark.parametrize("actor", ["user", "主播 und Größe", 'a "b" 100%', "x\r\nevt: injected", "%41", " blanks "])
def test_any_name_of_an_actor_travels_in_ascii_headers(actor: str) -> None:
    metadata = Metadata(uuid7(), actor=actor, tracestate="a=1, b=2")
    envelope = wrap(StreamerChanged(streamer_id="s1", name="x"), id=uuid7(), metadata=metadata, source="config")
    headers = envelope.to_headers()
    for value in headers.values():
        assert value.isascii()
        assert value.isprintable()
    assert headers["tracestate"] == "a=1, b=2"
    assert Envelope.from_headers(headers, envelope.data).metadata == metadata


def test_the_subject_of_a_recorded_event_is_that_of_its_class() -> None:
    for name in ("s1", "with-dash", "streamer-x"):
        event = StreamerChanged(streamer_id=name, name="x")
        assert subjects.of_recorded(event.message_type, event.stream) == subjects.of(event)


def test_the_subject_of_an_event_nothing_reads_any_more() -> None:
    assert not load_vocabulary().reads("config.streamer.retired.v3")
    assert subjects.of_recorded("config.streamer.retired.v3", "streamer-a-b") == "evt.config.streamer.a-b.retired.v3"

"""The envelope: CloudEvents headers out and in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from contracts import downloader, monitor
from contracts.envelope import (
    MESSAGE_ID,
    REPLAYED,
    Envelope,
    MalformedEnvelope,
    Metadata,
    header_texts,
    wrap,
    wrap_series,
)
from hypothesis import given, settings
from hypothesis import strategies as st

EVENT = monitor.SessionClosed(session_id="s1", streamer_id="a", reason="offline")
COMMAND = downloader.CutRecording(recording_id="r1")


def enveloped(**changes: object) -> Envelope:
    values: dict[str, object] = {"id": uuid4(), "metadata": Metadata(uuid4()), "source": "monitor", "sequence": 3}
    return wrap(EVENT, **{**values, **changes})  # type: ignore[arg-type]


header_text = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
metadata = st.builds(
    Metadata,
    correlation_id=st.uuids(),
    causation_id=st.none() | st.uuids(),
    traceparent=st.none() | header_text,
    tracestate=st.none() | header_text,
    actor=st.none() | header_text,
)
envelopes = st.builds(
    Envelope,
    id=st.uuids(),
    type=header_text.map("aircheck.{}".format),
    source=header_text,
    subject=header_text,
    time=st.datetimes(timezones=offsets),
    sequence=st.integers(0, 2**63),
    metadata=metadata,
    data=st.binary(max_size=64),
    replayed=st.booleans(),
)


@settings(max_examples=200, deadline=None, database=None)
@given(envelopes)
def test_what_is_written_to_headers_is_read_back(envelope: Envelope) -> None:
    again = Envelope.from_headers(envelope.to_headers(), envelope.data)
    assert again == envelope
    assert again.replayed == envelope.replayed


@settings(max_examples=100, deadline=None, database=None)
@given(
    st.lists(envelopes, max_size=4), st.lists(st.tuples(st.integers(0, 3), st.uuids(), st.integers(0, 9)), max_size=8)
)
def test_headers_as_text_are_the_headers_also_where_neighbours_share_them(
    some: list[Envelope], repeats: Sequence[tuple[int, UUID, int]]
) -> None:
    # given envelopes of any kind, and further ones that differ from one of them in id and sequence alone
    further = [replace(some[n], id=id, sequence=sequence) for n, id, sequence in repeats if n < len(some)]
    # then
    assert [json.loads(text) for text in header_texts([*some, *further, *some])] == [
        one.to_headers() for one in [*some, *further, *some]
    ]


CHANGES: list[dict[str, object]] = [
    {"metadata": Metadata(uuid4())},
    {"source": "/services/gateway"},
    {"subject": "session/s2"},
    {"replayed": True},
    {"time": datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_no_header_is_taken_from_a_neighbour_of_the_same_type_that_differs(change: dict[str, object]) -> None:
    # given two envelopes of one type; the times are one instant in two zones
    one = enveloped(time=datetime(2026, 1, 1, tzinfo=UTC))
    other = replace(one, id=uuid4(), **change)  # type: ignore[arg-type]
    # then
    assert [json.loads(text) for text in header_texts([one, other, one])] == [
        envelope.to_headers() for envelope in (one, other, one)
    ]


def test_a_series_is_wrapped_as_one_by_one() -> None:
    # given events of one aggregate, of two types
    left = monitor.SessionClosed(session_id="s1", streamer_id="b", reason="removed")
    events = [EVENT, monitor.SessionResumed(session_id="s1", streamer_id="a"), left]
    ids, origin, now = [uuid4() for _ in events], Metadata(uuid4()), datetime.now(UTC)
    made = iter(ids)
    # when
    series = wrap_series(events, new_id=lambda: next(made), metadata=origin, source="monitor", after=7, time=now)
    # then
    assert series == [
        wrap(event, id=id, metadata=origin, source="monitor", sequence=sequence, time=now)
        for event, id, sequence in zip(events, ids, (8, 9, 10), strict=True)
    ]


@settings(max_examples=100, deadline=None, database=None)
@given(metadata)
def test_metadata_survives_its_stored_form(given_metadata: Metadata) -> None:
    assert Metadata.from_dict(given_metadata.to_dict()) == given_metadata


@settings(max_examples=300, deadline=None, database=None)
@given(envelope=envelopes, name=st.sampled_from(sorted(enveloped().to_headers())), value=st.text(max_size=20))
def test_any_other_value_in_any_header_is_read_or_refused_but_never_crashes(
    envelope: Envelope, name: str, value: str
) -> None:
    headers = {**envelope.to_headers(), name: value}
    try:
        assert isinstance(Envelope.from_headers(headers, envelope.data), Envelope)
    except MalformedEnvelope:
        assert name.startswith("ce-")


def test_an_event_names_its_aggregate_and_a_command_its_key() -> None:
    assert enveloped().subject == "session/s1"
    command = wrap(COMMAND, id=uuid4(), metadata=Metadata(uuid4()), source="gateway")
    assert (command.subject, command.sequence, command.source) == ("r1", 0, "/services/gateway")


def test_the_headers_are_cloudevents_in_binary_mode() -> None:
    id, cause, origin = uuid4(), uuid4(), uuid4()
    at = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    envelope = enveloped(
        id=id, time=at, metadata=Metadata(origin, causation_id=cause, traceparent="00-1-2-01", actor="user-1")
    )
    assert envelope.to_headers() == {
        "Nats-Msg-Id": str(id),
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": str(id),
        "ce-type": "aircheck.monitor.session.closed.v1",
        "ce-source": "/services/monitor",
        "ce-subject": "session/s1",
        "ce-time": "2024-05-06T07:08:09+00:00",
        "ce-dataschema": "/schemas/monitor.session.closed.v1.json",
        "ce-sequence": "3",
        "ce-correlationid": str(origin),
        "ce-causationid": str(cause),
        "ce-actor": "user-1",
        "traceparent": "00-1-2-01",
    }


def test_type_and_service_are_read_without_the_product_prefix() -> None:
    envelope = enveloped()
    assert (envelope.message_type, envelope.service) == ("monitor.session.closed.v1", "monitor")


def test_a_replayed_message_says_so_and_is_otherwise_the_same() -> None:
    envelope = enveloped()
    again = Envelope.from_headers({**envelope.to_headers(), REPLAYED: "true"}, envelope.data)
    assert again.replayed
    assert again == envelope


def test_headers_of_others_are_ignored() -> None:
    envelope = enveloped()
    assert Envelope.from_headers({**envelope.to_headers(), "Nats-Stream": "EVENTS"}, envelope.data) == envelope


@pytest.mark.parametrize(
    "name", ["ce-specversion", "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time", "ce-correlationid"]
)
def test_a_missing_header_is_malformed_and_named(name: str) -> None:
    headers = enveloped().to_headers()
    del headers[name]
    with pytest.raises(MalformedEnvelope, match=name.removeprefix("ce-")):
        Envelope.from_headers(headers, b"{}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ce-specversion", "0.3"),
        ("ce-id", "not-a-uuid"),
        ("ce-time", "yesterday"),
        ("ce-time", "2024-05-06T07:08:09"),
        ("ce-sequence", "many"),
        ("ce-sequence", "-1"),
        ("ce-correlationid", "x"),
        ("ce-causationid", "x"),
    ],
)
def test_a_bad_value_is_malformed(name: str, value: str) -> None:
    with pytest.raises(MalformedEnvelope):
        Envelope.from_headers({**enveloped().to_headers(), name: value}, b"{}")


@pytest.mark.parametrize("headers", [None, {}, {MESSAGE_ID: str(UUID(int=1))}])
def test_a_message_without_our_headers_is_malformed(headers: dict[str, str] | None) -> None:
    with pytest.raises(MalformedEnvelope):
        Envelope.from_headers(headers, b"")


def test_the_structured_form_carries_the_same_attributes_and_the_data() -> None:
    envelope = enveloped()
    structured = envelope.to_structured()
    attributes = {
        name.removeprefix("ce-"): value for name, value in envelope.to_headers().items() if name.startswith("ce-")
    }
    assert structured["data"] == {"session_id": "s1", "streamer_id": "a", "reason": "offline"}
    assert {name: structured[name] for name in attributes} == attributes
    assert structured["datacontenttype"] == "application/json"

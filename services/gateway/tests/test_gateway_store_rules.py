"""What the store takes from the bus."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from chassis.delivery import Delivery
from contracts import subjects
from contracts.envelope import MalformedEnvelope, Metadata, wrap
from contracts.monitor import SessionClosed
from contracts.values import EndReason

from services.gateway.store.events import accept, as_stored
from services.gateway.store.views import EventFilter

EVENT = SessionClosed(session_id="a", streamer_id="s", reason=EndReason.OFFLINE)
ENVELOPE = wrap(EVENT, id=uuid4(), metadata=Metadata(correlation_id=uuid4()), source="monitor", sequence=4)


def delivery(envelope=ENVELOPE, *, data=None, subject=None, **headers):
    merged = {**envelope.to_headers(), **headers}
    return Delivery(None, subject or subjects.of(EVENT), merged, envelope.data if data is None else data, 1, 1)


def test_an_event_keeps_everything():
    stored = as_stored(accept(delivery()), 9)

    assert (stored.position, stored.stream, stored.version) == (9, ("monitor", "session-a"), 4)
    assert stored.event == EVENT
    shown = stored.cloud_event
    assert shown == {**ENVELOPE.to_structured(), "position": 9, "stream": "session-a", "version": 4}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\\u0000"}',
        b'{"a": "\\\\\\u0000"}',
        b'{"a": "\\ud800"}',
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_bodies_the_database_would_refuse_are_refused_one_by_one(data):
    with pytest.raises(MalformedEnvelope):
        accept(delivery(data=data))


@pytest.mark.parametrize(
    "data", [b'{"a": "\\\\u0000"}', b'{"a": "\\ud83d\\ude00"}', '{"a": "\U0001f600 \u00e9"}'.encode()]
)
def test_bodies_that_only_look_like_it_are_taken(data):
    assert accept(delivery(data=data)).envelope.data == data


@pytest.mark.parametrize(
    "broken",
    [
        {"envelope": replace(ENVELOPE, sequence=0)},
        {"envelope": replace(ENVELOPE, subject="a")},
        {"subject": "evt.config.session.a.closed.v1"},
        {"envelope": replace(ENVELOPE, type="aircheck.nobody.x.y.v1"), "subject": "evt.nobody.x.a.y.v1"},
        {"ce-id": "not an id"},
    ],
)
def test_what_is_no_event_of_ours_is_refused(broken):
    with pytest.raises(MalformedEnvelope):
        accept(delivery(**broken))


def test_a_type_of_tomorrow_is_stored_and_not_read():
    later = accept(delivery(replace(ENVELOPE, type="aircheck.monitor.session.closed.v9")))

    assert as_stored(later, 1).event is None and as_stored(later, 1).fields["session_id"] == "a"


@pytest.mark.parametrize(
    ("which", "admitted"),
    [
        ({}, True),
        ({"type": "monitor.session"}, True),
        ({"type": "monitor.session.closed.v1"}, True),
        ({"type": "monitor.sess"}, False),
        ({"service": "monitor"}, True),
        ({"service": "config"}, False),
        ({"stream": "session-a"}, True),
        ({"session_id": "a", "streamer_id": "s"}, True),
        ({"session_id": "b"}, False),
        ({"correlation_id": ENVELOPE.metadata.correlation_id}, True),
        ({"causation_id": ENVELOPE.metadata.correlation_id}, False),
    ],
)
def test_filters(which, admitted):
    assert EventFilter(**which).admits(as_stored(accept(delivery()), 1)) == admitted

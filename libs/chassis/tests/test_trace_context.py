"""W3C trace context and ids."""

from __future__ import annotations

from uuid import UUID

import pytest
from chassis.ids import new_bytes, new_id, new_key
from chassis.telemetry import child_of, new_metadata, trace_id
from contracts.message import TOKEN

PARENT = f"00-{'ab' * 16}-{'cd' * 8}-00"


def test_a_child_has_a_span_of_its_own_in_the_same_trace() -> None:
    child = child_of(PARENT)
    assert trace_id(child) == "ab" * 16
    assert child.endswith("-00")
    assert child != PARENT
    assert child_of(PARENT) != child


@pytest.mark.parametrize(
    "text", [None, "", "x", "a-b-c-d", "00-xx-yy-01", PARENT.upper(), PARENT + "-more", PARENT + "\n"]
)
def test_what_is_no_trace_context_begins_a_new_trace(text: str | None) -> None:
    assert trace_id(text) == ""
    assert len(trace_id(child_of(text))) == 32


def test_a_new_story_has_ids_of_its_own() -> None:
    first, second = new_metadata(actor="me"), new_metadata()
    assert first.correlation_id != second.correlation_id
    assert trace_id(first.traceparent) != trace_id(second.traceparent)
    assert (first.actor, first.causation_id) == ("me", None)


def test_ids_are_of_version_seven_and_in_the_order_of_their_making() -> None:
    made = [new_id() if number % 2 else UUID(bytes=new_bytes()) for number in range(1000)]
    assert {one.version for one in made} == {7}
    assert made == sorted(made)
    assert TOKEN.match(new_key())
    assert len(new_key()) == 32

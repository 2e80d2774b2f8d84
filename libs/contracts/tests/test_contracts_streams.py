"""Streams and consumers: everything is kept exactly once and read by exactly one owner."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from contracts import streams, subjects, topology
from contracts.registry import Registry
from contracts.system import SERVICES

Matches = Callable[[str, str], bool]


def sample(filter: str) -> str:
    return filter.replace("*", "id-1").replace(">", "any.thing")


def everything(vocabulary: Registry) -> list[str]:
    """One subject of everything the bus carries."""
    return [
        *(sample(subjects.filter_of(cls)) for cls in vocabulary.all()),
        *(subjects.log_of(service, "info") for service in SERVICES),
        *(subjects.dead_letter_of(service, service) for service in SERVICES),
        subjects.chat_of("s1"),
        "live.s1.gop",
    ]


def test_every_subject_is_captured_by_exactly_one_stream(vocabulary: Registry, matches: Matches) -> None:
    for subject in everything(vocabulary):
        captured = [spec.name for spec in streams.STREAMS if any(matches(each, subject) for each in spec.subjects)]
        assert captured == [streams.stream_of(subject)]


def test_each_kind_of_message_has_its_stream(vocabulary: Registry) -> None:
    assert {streams.stream_of(subjects.filter_of(cls)) for cls in vocabulary.events()} == {"EVENTS"}
    assert {streams.stream_of(subjects.filter_of(cls)) for cls in vocabulary.commands()} == {"COMMANDS"}
    assert {streams.stream_of(subjects.filter_of(cls)) for cls in vocabulary.signals()} == {"SIGNALS"}


@pytest.mark.parametrize("subject", ["event.a.b", "", "$JS.API.INFO", "_INBOX.x"])
def test_a_foreign_subject_has_no_stream(subject: str) -> None:
    with pytest.raises(KeyError):
        streams.stream_of(subject)


def test_stream_names_are_unique() -> None:
    names = [spec.name for spec in streams.STREAMS]
    assert len(set(names)) == len(names)


def test_facts_and_requests_are_refused_rather_than_forgotten_when_a_stream_is_full() -> None:
    by_name = {spec.name: spec for spec in streams.STREAMS}
    for name in ("EVENTS", "COMMANDS"):
        assert (by_name[name].storage, by_name[name].discard) == ("file", "new")


def test_full_dead_letters_do_not_stop_the_relay_that_brings_them() -> None:
    assert (streams.DLQ.storage, streams.DLQ.discard) == ("file", "old")


def test_streams_of_the_outbox_take_atomic_batches_and_drop_repeats_for_half_an_hour() -> None:
    for spec in (streams.EVENTS, streams.COMMANDS):
        assert spec.allow_atomic
        assert spec.duplicate_window_s == 1800


def test_what_may_be_lost_is_bounded() -> None:
    for spec in (streams.SIGNALS, streams.LOGS, streams.CHAT, streams.LIVE):
        assert spec.max_age_s > 0
        assert spec.max_bytes > 0


def test_consumers_are_unique_and_read_existing_streams() -> None:
    consumers = [(consumer.stream, consumer.name) for consumer in streams.consumers()]
    assert len(set(consumers)) == len(consumers)
    assert {stream for stream, _ in consumers} <= {spec.name for spec in streams.STREAMS}


def test_a_consumer_reads_only_subjects_of_its_stream(matches: Matches) -> None:
    by_name = {spec.name: spec for spec in streams.STREAMS}
    for consumer in streams.consumers():
        assert consumer.filters
        for each in consumer.filters:
            assert any(matches(subject, sample(each)) for subject in by_name[consumer.stream].subjects)


def test_filters_of_one_consumer_do_not_overlap_which_the_server_would_refuse(matches: Matches) -> None:
    for consumer in streams.consumers():
        for each in consumer.filters:
            assert [other for other in consumer.filters if matches(other, sample(each))] == [each]


def test_every_command_is_read_by_exactly_one_consumer_its_handler(vocabulary: Registry, matches: Matches) -> None:
    for cls in vocabulary.commands():
        subject = sample(subjects.filter_of(cls))
        readers = [
            consumer.name
            for consumer in streams.consumers()
            if consumer.stream == "COMMANDS" and any(matches(each, subject) for each in consumer.filters)
        ]
        assert readers == [cls.service]


def test_every_event_is_read_by_its_consumers_and_the_projector(vocabulary: Registry, matches: Matches) -> None:
    for cls in vocabulary.events():
        subject = sample(subjects.filter_of(cls))
        readers = {
            consumer.name
            for consumer in streams.consumers()
            if consumer.stream == "EVENTS" and any(matches(each, subject) for each in consumer.filters)
        }
        assert readers == {*topology.receivers(cls), topology.PROJECTOR}

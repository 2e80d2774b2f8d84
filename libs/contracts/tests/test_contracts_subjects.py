"""Subjects: what an id may look like, and that no two kinds of message can be confused on the bus."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from contracts import subjects
from contracts.danmu import ChatStarted
from contracts.message import Message
from contracts.monitor import CheckChannel, SessionOpened, SourcesResolved
from contracts.registry import Registry
from contracts.subjects import BadToken


def message_of(cls: type[Message], key: str = "id-1") -> Any:
    """A message of which only the key is known: subjects look at nothing else."""
    return cls.model_construct(**{cls.key_field: key})


@pytest.mark.parametrize("value", ["a", "A-z_0", "0" * 128])
def test_an_id_of_letters_digits_and_dashes_is_a_token(value: str) -> None:
    assert subjects.token(value) == value


@pytest.mark.parametrize(
    "value",
    ["", "a.b", "a b", "*", ">", "a>", "0" * 129, "é", "a\n", "\na", "a\r\nPUB x 1", "a\t", "a\x00", "a/b", "$JS"],
)
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(BadToken):
        subjects.token(value)


@pytest.mark.parametrize("cls", [SessionOpened, SourcesResolved])
def test_a_message_whose_id_is_no_token_has_no_subject(cls: type[Message]) -> None:
    with pytest.raises(BadToken):
        subjects.of(message_of(cls, "x.>"))


@pytest.mark.parametrize("make", [subjects.chat_of, partial(subjects.signal, SourcesResolved)])
def test_no_subject_is_made_of_a_bad_id(make: Callable[[str], str]) -> None:
    with pytest.raises(BadToken):
        make("a.b")


def test_the_three_kinds_are_spelled_as_documented() -> None:
    assert subjects.of(message_of(SessionOpened, "s1")) == "evt.monitor.session.s1.opened.v1"
    assert subjects.of(message_of(CheckChannel, "a")) == "cmd.monitor.check_channel.v1"
    assert subjects.of(message_of(SourcesResolved, "a")) == "sig.monitor.sources.a"


def test_a_signal_is_found_by_its_key_without_a_message() -> None:
    assert subjects.signal(SourcesResolved, "a") == subjects.of(message_of(SourcesResolved, "a"))


def test_a_subject_matches_the_filter_of_its_class_and_of_no_other(
    vocabulary: Registry, matches: Callable[[str, str], bool]
) -> None:
    filters = {cls: subjects.filter_of(cls) for cls in vocabulary.all()}
    for cls in vocabulary.all():
        subject = subjects.of(message_of(cls))
        assert [other for other, pattern in filters.items() if matches(pattern, subject)] == [cls]


def test_a_subject_is_below_what_its_service_may_send_and_below_nothing_of_another(
    vocabulary: Registry, matches: Callable[[str, str], bool]
) -> None:
    services = {cls.service for cls in vocabulary.all()}
    spaces = (subjects.events_of, subjects.commands_of, subjects.signals_of)
    for cls in vocabulary.all():
        subject = subjects.of(message_of(cls))
        owners = [service for service in services for space in spaces if matches(space(service), subject)]
        assert owners == [cls.service]


def test_the_template_is_the_subject_without_its_id(vocabulary: Registry) -> None:
    for cls in vocabulary.all():
        subject = subjects.of(message_of(cls, "THE-ID"))
        assert subjects.template_of(cls.message_type) == subject.replace("THE-ID", "{id}")
        assert subjects.template_of(cls.full_type()) == subjects.template_of(cls.message_type)


def test_the_template_of_an_undeclared_type_does_not_grow_with_what_arrives() -> None:
    assert subjects.template_of("aircheck.monitor.session.9f3.v1") == "unknown"


def test_logs_chat_and_dead_letters_have_their_own_subjects() -> None:
    assert subjects.log_of("danmu", "info") == "log.danmu.info"
    assert subjects.chat_of("s1") == "chat.s1"
    assert subjects.dead_letter_of("gateway", "projector") == "dlq.gateway.projector"


def test_majors_of_one_event_are_told_apart(private_registry: Registry, matches: Callable[[str, str], bool]) -> None:
    class ChatStartedV2(ChatStarted, type="danmu.chat.started.v2", key="session_id"):
        pass

    assert not matches(subjects.filter_of(ChatStarted), subjects.of(message_of(ChatStartedV2)))

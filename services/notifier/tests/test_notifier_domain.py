"""Targets and notifications: what is decided, and who wants to hear of what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from contracts.aggregate import Rejected
from contracts.message import Event
from contracts.notifier import (
    NotificationDelivered,
    NotificationFailed,
    NotificationRequested,
    SaveTarget,
    TargetRemoved,
    TargetSaved,
)
from contracts.topology import NOTIFIABLE

from services.notifier import domain
from services.notifier.domain import NOTIFICATION, TARGET

EVENT_ID = UUID("01890000-0000-7000-8000-000000000001")
SAVED = TargetSaved(
    target_id="t", kind="webhook", name="Ops", host="hooks.example", events=("session.*",), enabled=True
)
REQUESTED = NotificationRequested(
    notification_id="n", target_id="t", event_id=str(EVENT_ID), event_type="monitor.session.opened.v1"
)
DELIVERED = NotificationDelivered(notification_id="n", target_id="t", event_type=REQUESTED.event_type, attempts=1)
FAILED = NotificationFailed(notification_id="n", target_id="t", event_type=REQUESTED.event_type, attempts=8, error="no")


def save(**changes: Any) -> SaveTarget:
    values: dict[str, Any] = {
        "target_id": "t", "kind": "webhook", "name": "Ops", "sealed_address": "", "events": ("session.*",), "enabled": True
    }  # fmt: skip
    return SaveTarget(**(values | changes))


def target(*events: Event) -> domain.Place:
    return TARGET.fold(events)


def notification(*events: Event) -> domain.Notification:
    return NOTIFICATION.fold(events)


def refused(status: int, decide: Any, *arguments: Any) -> str:
    with pytest.raises(Rejected) as caught:
        decide(*arguments)
    assert caught.value.problem.status == status
    return caught.value.problem.detail


def test_a_new_target_is_saved_with_nothing_of_its_address_but_the_host():
    assert domain.decide_save(target(), save(), "hooks.example") == [SAVED]


def test_a_new_address_is_a_change_even_when_it_looks_the_same():
    assert domain.decide_save(target(SAVED), save(), "hooks.example") == [SAVED]


def test_keeping_the_address_changes_the_rest():
    changed = domain.decide_save(target(SAVED), save(enabled=False, name="Night"), None)
    assert changed == [SAVED.model_copy(update={"enabled": False, "name": "Night"})]


def test_saving_the_same_with_the_address_kept_is_nothing():
    assert domain.decide_save(target(SAVED), save(), None) == []


@pytest.mark.parametrize("history", [(), (SAVED, TargetRemoved(target_id="t"))])
def test_an_address_cannot_be_kept_where_there_is_none(history: tuple[Event, ...]):
    refused(422, domain.decide_save, target(*history), save(), None)


def test_an_address_cannot_be_kept_for_another_kind():
    refused(422, domain.decide_save, target(SAVED), save(kind="apprise"), None)


def test_removing_a_target():
    assert domain.decide_remove(target(SAVED), "t") == [TargetRemoved(target_id="t")]


@pytest.mark.parametrize("history", [(), (SAVED, TargetRemoved(target_id="t"))])
def test_what_is_not_there_can_be_neither_removed_nor_tested(history: tuple[Event, ...]):
    refused(404, domain.decide_remove, target(*history), "t")
    refused(404, domain.must_exist, target(*history), "t")


def test_an_event_is_told_once():
    ask = {"notification_id": "n", "target_id": "t", "event_id": EVENT_ID, "event_type": "monitor.session.opened.v1"}
    assert domain.decide_request(notification(), **ask) == [REQUESTED]
    for history in ((REQUESTED,), (REQUESTED, DELIVERED), (REQUESTED, FAILED)):
        assert domain.decide_request(notification(*history), **ask) == []


def test_a_delivery_ends_it_once():
    assert domain.decide_delivered(notification(REQUESTED), 1) == [DELIVERED]
    assert domain.decide_delivered(notification(REQUESTED, DELIVERED), 1) == []
    assert domain.decide_failed(notification(REQUESTED, DELIVERED), 8, "no") == []
    assert domain.decide_delivered(notification(), 1) == []


def test_giving_up_says_why_in_bounded_words():
    assert domain.decide_failed(notification(REQUESTED), 8, "no") == [FAILED]
    [long] = domain.decide_failed(notification(REQUESTED), 8, "x" * 10_000)
    assert isinstance(long, NotificationFailed)
    assert len(long.error) == domain.MAX_ERROR


def test_only_a_failed_notification_is_tried_again():
    assert domain.decide_again(notification(REQUESTED, FAILED), "n") == [REQUESTED]
    for history in ((REQUESTED,), (REQUESTED, DELIVERED), (REQUESTED, FAILED, REQUESTED)):
        assert domain.decide_again(notification(*history), "n") == []
    assert "no notification n" in refused(404, domain.decide_again, notification(), "n")


def test_another_try_can_be_delivered_and_can_fail_again():
    again = notification(REQUESTED, FAILED, REQUESTED)
    assert domain.decide_delivered(again, 1) == [DELIVERED]
    assert domain.decide_failed(again, 8, "no") == [FAILED]
    assert domain.decide_again(notification(REQUESTED, FAILED, REQUESTED, FAILED), "n") == [REQUESTED]


def test_the_id_of_a_notification_depends_on_event_and_target_alone():
    first = domain.notification_id(EVENT_ID, "t")
    assert first == domain.notification_id(UUID(str(EVENT_ID)), "t")
    assert len({first, domain.notification_id(EVENT_ID, "u"), domain.notification_id(UUID(int=7), "t")}) == 3
    assert REQUESTED.model_copy(update={"notification_id": first}).stream == f"notification-{first}"


def test_a_letter_has_one_id_per_round():
    id = domain.notification_id(EVENT_ID, "t")
    assert domain.letter_id(id, 1) == domain.letter_id(id, 1) != domain.letter_id(id, 2)


@pytest.mark.parametrize(
    ("patterns", "matches"),
    [
        ((), True),
        (("*",), True),
        (("session.*",), True),
        (("session.opened",), True),
        (("session.opened.v1",), False),
        (("monitor.session.opened",), True),
        (("monitor.session.opened.v1",), True),
        (("monitor.*",), True),
        (("*.opened",), True),
        (("upload.*", "session.opened"), True),
        (("session",), False),
        (("opened",), False),
        (("session.closed",), False),
        (("uploader.*",), False),
        (("monitor.session.opened.v2",), False),
    ],
)
def test_patterns(patterns: tuple[str, ...], matches: bool):
    assert domain.wants(patterns, "monitor.session.opened.v1") is matches


@pytest.mark.parametrize("cls", NOTIFIABLE, ids=lambda cls: cls.message_type)
def test_every_event_can_be_asked_for_by_its_names(cls: type[Event]):
    versionless = cls.message_type.removesuffix(".v1")
    for pattern in (cls.message_type, versionless, versionless.partition(".")[2], f"{cls.service}.*"):
        domain.check_patterns((pattern,))
        assert domain.wants((pattern,), cls.message_type)


@pytest.mark.parametrize("pattern", ["sesion.*", "config.*", "Session.*", "session.[a-z]*", "", "session.opened\n"])
def test_a_pattern_that_never_matches_is_refused(pattern: str):
    assert "monitor.session.opened" in refused(422, domain.check_patterns, ("session.*", pattern))


def test_old_events_are_history():
    now = datetime(2024, 1, 2, tzinfo=UTC)
    assert not domain.is_history(now - timedelta(seconds=60), now, 60)
    assert domain.is_history(now - timedelta(seconds=61), now, 60)
    assert not domain.is_history(now + timedelta(seconds=5), now, 60)


@pytest.mark.parametrize(
    ("attempts", "retry_after", "pause"),
    [(1, None, 2), (2, None, 4), (3, 1.0, 8), (3, 60.0, 60), (8, None, 256), (9, None, 300), (10_000, None, 300), (9, 3600.0, 3600)],
)  # fmt: skip
def test_pauses_double_up_to_five_minutes_and_yield_to_the_receiver(
    attempts: int, retry_after: float | None, pause: float
):
    assert domain.pause_s(attempts, 1.0, retry_after) == pause

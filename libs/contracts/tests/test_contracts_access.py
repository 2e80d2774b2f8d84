"""Permissions on the bus: a service can do its work and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
from contracts import access, streams, subjects, topology
from contracts.message import Command
from contracts.registry import Registry
from contracts.system import SERVICES

Matches = Callable[[str, str], bool]


class Bus:
    """Answers as the server would: may this user publish, or subscribe to, one concrete subject?"""

    def __init__(self, matches: Matches) -> None:
        self._matches = matches
        self._users = {service: access.permissions(service) for service in SERVICES}
        self._users[access.PROVISIONER] = access.provisioner()

    def publishers(self, subject: str) -> set[str]:
        return {user for user, allowed in self._users.items() if self._any(allowed.publish, subject)}

    def subscribers(self, subject: str) -> set[str]:
        return {user for user, allowed in self._users.items() if self._any(allowed.subscribe, subject)}

    def _any(self, patterns: tuple[str, ...], subject: str) -> bool:
        return any(self._matches(pattern, subject) for pattern in patterns)


@pytest.fixture(scope="module")
def bus(matches: Matches) -> Bus:
    return Bus(matches)


def concrete(filter: str) -> str:
    return filter.replace("*", "id-1")


def test_an_event_or_signal_is_published_by_its_owner_alone(bus: Bus, vocabulary: Registry) -> None:
    for cls in (*vocabulary.events(), *vocabulary.signals()):
        assert bus.publishers(concrete(subjects.filter_of(cls))) == {cls.service}


def test_a_command_is_published_by_those_the_topology_lets_send_it(bus: Bus, vocabulary: Registry) -> None:
    for cls in vocabulary.commands():
        assert bus.publishers(subjects.filter_of(cls)) == {
            service for service, sent in topology.SENDS.items() if cls in sent
        }


@pytest.mark.parametrize("service", SERVICES)
def test_an_undeclared_command_of_a_service_is_published_by_nobody(bus: Bus, service: str) -> None:
    assert bus.publishers(f"cmd.{service}.format_disk.v1") == set()
    assert bus.publishers(f"cmd.{service}") == set()


@pytest.mark.parametrize("service", SERVICES)
def test_logs_and_dead_letters_are_published_by_their_service_alone(bus: Bus, service: str) -> None:
    assert bus.publishers(subjects.log_of(service, "info")) == {service}
    assert bus.publishers(subjects.dead_letter_of(service, service)) == {service}


def test_chat_comes_from_danmu_and_media_from_the_downloader(bus: Bus) -> None:
    assert bus.publishers(subjects.chat_of("s1")) == {"danmu"}
    assert bus.publishers("live.s1") == {"downloader"}


@pytest.mark.parametrize("subject", [subjects.chat_of("s1"), "live.s1", "log.danmu.info"])
def test_what_people_watch_reaches_the_gateway_alone(bus: Bus, subject: str) -> None:
    assert bus.subscribers(subject) == {"gateway"}


def test_signals_reach_the_gateway_and_their_listeners(bus: Bus, vocabulary: Registry) -> None:
    for cls in vocabulary.signals():
        assert bus.subscribers(concrete(subjects.filter_of(cls))) == set(topology.receivers(cls))


def test_the_last_value_of_a_signal_is_fetched_by_its_listeners_alone(bus: Bus, vocabulary: Registry) -> None:
    for cls in vocabulary.signals():
        request = f"$JS.API.DIRECT.GET.SIGNALS.{concrete(subjects.filter_of(cls))}"
        assert bus.publishers(request) - {access.PROVISIONER} == set(topology.receivers(cls))


def test_events_commands_and_dead_letters_cannot_be_subscribed_to_past_the_consumers(
    bus: Bus, vocabulary: Registry
) -> None:
    for cls in (*vocabulary.events(), *vocabulary.commands()):
        assert bus.subscribers(concrete(subjects.filter_of(cls))) == set()
    assert bus.subscribers("dlq.monitor.monitor") == set()


@pytest.mark.parametrize("consumer", streams.consumers(), ids=lambda consumer: f"{consumer.stream}-{consumer.name}")
@pytest.mark.parametrize(
    "request_subject",
    [
        "$JS.API.CONSUMER.INFO.{stream}.{name}",
        "$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}",
        "$JS.ACK.{stream}.{name}.1.2.3.1700000000.0",
        "$JS.ACK._.ACCOUNT.{stream}.{name}.1.2.3.1700000000.0.x",
    ],
)
def test_a_consumer_is_used_by_its_owner_alone(bus: Bus, consumer: streams.ConsumerSpec, request_subject: str) -> None:
    owner = "gateway" if consumer.name == topology.PROJECTOR else consumer.name
    users = bus.publishers(request_subject.format(stream=consumer.stream, name=consumer.name))
    assert users - {access.PROVISIONER} == {owner}


@pytest.mark.parametrize(
    "request_subject",
    [
        "$JS.API.STREAM.CREATE.EVENTS",
        "$JS.API.STREAM.UPDATE.EVENTS",
        "$JS.API.STREAM.DELETE.EVENTS",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.STREAM.MSG.DELETE.EVENTS",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.DIRECT.GET.EVENTS",
        "$JS.API.CONSUMER.CREATE.EVENTS",
        "$JS.API.CONSUMER.CREATE.COMMANDS.monitor.cmd.monitor.>",
        "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.projector",
        "$JS.API.CONSUMER.DELETE.EVENTS.projector",
        "$JS.API.CONSUMER.PAUSE.EVENTS.projector",
    ],
)
def test_the_history_is_managed_by_the_provisioning_job_alone(bus: Bus, request_subject: str) -> None:
    assert bus.publishers(request_subject) == {access.PROVISIONER}


@pytest.mark.parametrize(
    "subject", ["$SYS.REQ.SERVER.PING", "$JS.EVENT.ADVISORY.X", "$KV.a.b", "evt", "evt.other.a.b.c.v1"]
)
def test_the_rest_of_the_bus_is_closed_to_everybody(bus: Bus, subject: str) -> None:
    assert bus.publishers(subject) == set()
    assert bus.subscribers(subject) == set()


def test_everybody_may_ask_how_the_bus_and_its_streams_are(bus: Bus) -> None:
    everybody = {*SERVICES, access.PROVISIONER}
    assert bus.publishers("$JS.API.INFO") == everybody
    for spec in streams.STREAMS:
        assert bus.publishers(f"$JS.API.STREAM.INFO.{spec.name}") == everybody


def test_the_provisioning_job_writes_no_messages(bus: Bus, vocabulary: Registry) -> None:
    for cls in vocabulary.all():
        assert access.PROVISIONER not in bus.publishers(concrete(subjects.filter_of(cls)))


@pytest.mark.parametrize("user", [*SERVICES, access.PROVISIONER])
def test_replies_are_read_by_the_one_who_asked_and_forged_by_nobody(bus: Bus, user: str) -> None:
    reply = f"{access.inbox_prefix(user)}.abc123.1"
    assert bus.subscribers(reply) == {user}
    assert bus.publishers(reply) == set()


def test_no_inbox_lies_below_another(matches: Matches) -> None:
    for one, other in permutations([*SERVICES, access.PROVISIONER], 2):
        assert not matches(f"{access.inbox_prefix(one)}.>", f"{access.inbox_prefix(other)}.x")


@pytest.mark.parametrize("subject", ["_INBOX.x", "_INBOX.x.y"])
def test_the_shared_inbox_of_default_clients_is_closed(bus: Bus, subject: str) -> None:
    assert bus.subscribers(subject) == set()


def test_permissions_have_no_repeats_which_would_hide_a_mistake() -> None:
    for service in SERVICES:
        allowed = access.permissions(service)
        assert len(set(allowed.publish)) == len(allowed.publish)
        assert len(set(allowed.subscribe)) == len(allowed.subscribe)


def test_an_unknown_service_has_no_permissions() -> None:
    with pytest.raises(KeyError):
        access.permissions("billing")


def test_only_commands_are_in_the_sending_rights() -> None:
    for service in SERVICES:
        sent = [subject for subject in access.permissions(service).publish if subject.startswith("cmd.")]
        assert sent == [subjects.filter_of(cls) for cls in topology.SENDS[service] if issubclass(cls, Command)]

"""Who reacts to what: the wiring of the whole system is complete and has no short circuits."""

from __future__ import annotations

import pytest
from contracts import catalogue, config, danmu, downloader, monitor, system, topology
from contracts.message import Command, Event, Message, Signal
from contracts.registry import Registry
from contracts.system import SERVICES


@pytest.mark.parametrize("table", [topology.CONSUMES, topology.SENDS, topology.LISTENS])
def test_every_service_has_a_row(table: dict[str, object]) -> None:
    assert set(table) == set(SERVICES)


@pytest.mark.parametrize(
    ("table", "base"), [(topology.CONSUMES, Event), (topology.SENDS, Command), (topology.LISTENS, Signal)]
)
def test_rows_name_declared_messages_of_the_right_kind_once(
    vocabulary: Registry, table: dict[str, tuple[type[Message], ...]], base: type[Message]
) -> None:
    for classes in table.values():
        assert len(set(classes)) == len(classes)
        for cls in classes:
            assert issubclass(cls, base)
            assert vocabulary.find(cls.message_type) is cls


def test_no_service_reacts_to_its_own_events() -> None:
    for service, events in topology.CONSUMES.items():
        assert service not in {event.service for event in events}


def test_no_service_sends_itself_a_command_except_the_gateway_the_maintenance_of_its_own_log() -> None:
    own = {(service, cls) for service, sent in topology.SENDS.items() for cls in sent if cls.service == service}
    maintenance = (system.Republish, system.ReplayDeadLetter, system.DropDeadLetter)
    assert own == {("gateway", system.of("gateway", shape)) for shape in maintenance}


def test_every_command_has_a_sender(vocabulary: Registry) -> None:
    assert [cls.message_type for cls in vocabulary.commands() if not topology.senders(cls)] == []


def test_commands_that_skip_the_outbox_are_questions_alone() -> None:
    assert list(topology.DIRECT) == [monitor.CheckChannel, config.TellCredential]


@pytest.mark.parametrize(
    ("cls", "senders", "receivers"),
    [
        (monitor.SessionOpened, ("monitor",), ("scheduler", "notifier")),
        (config.LayerSaved, ("config",), ()),
        (monitor.CheckChannel, ("scheduler", "downloader", "gateway"), ("monitor",)),
        (monitor.SourcesResolved, ("monitor",), ("downloader", "gateway")),
        (downloader.RecordingProgress, ("downloader",), ("gateway",)),
        (config.TellCredential, ("monitor", "downloader", "danmu"), ("config",)),
        (config.CredentialTold, ("config",), ("monitor", "downloader", "danmu", "gateway")),
    ],
)
def test_senders_and_receivers_follow_the_tables(
    cls: type[Message], senders: tuple[str, ...], receivers: tuple[str, ...]
) -> None:
    assert topology.senders(cls) == senders
    assert topology.receivers(cls) == receivers


def test_the_catalogue_has_a_module_for_every_service_and_each_declares_only_its_own(vocabulary: Registry) -> None:
    modules = {module.__name__.removeprefix("contracts.") for module in catalogue.MODULES}
    assert modules == {*SERVICES, "system"}
    for cls in vocabulary.all():
        assert cls.__module__ in {f"contracts.{cls.service}", "contracts.system"}


def test_every_service_has_every_system_message(vocabulary: Registry) -> None:
    for service in SERVICES:
        for shape in system.SHAPES:
            cls = system.of(service, shape)
            assert cls.service == service
            assert issubclass(cls, shape)
            assert vocabulary.find(cls.message_type) is cls


def test_an_unknown_service_has_no_system_messages() -> None:
    with pytest.raises(KeyError):
        system.of("billing", system.Republish)


class HasKey:
    key = "only-the-key"


@pytest.mark.parametrize(
    ("message", "key"),
    [
        (danmu.ChatDisconnected(session_id="s", streamer_id="a", cause="x"), "s"),
        (monitor.ChannelWentOffline(streamer_id="a"), "a"),
        (downloader.CutRecording(recording_id="r"), "r"),
        (HasKey(), "only-the-key"),
        (object(), ""),
    ],
)
def test_order_is_kept_within_the_session_else_the_streamer_else_the_aggregate(message: object, key: str) -> None:
    assert topology.ordering_key(message) == key

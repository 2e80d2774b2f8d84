"""The JetStream streams and consumers. One provisioning job creates them from here; nobody else declares any."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

from contracts import subjects, topology
from contracts.system import SERVICES

MIB = 1 << 20
ACK_WAIT_S = 10.0
"""How long the bus waits for an acknowledgement before it delivers a message again: no longer than the leases of a dead process last, which it
was delivered to in vain. Who works on one for longer says so meanwhile (`chassis.in_hand`)."""


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream. Ages in seconds (0 = for ever), ``max_bytes`` -1 = unlimited. ``why`` is shown in the dry run and the documentation."""

    name: str
    subjects: tuple[str, ...]
    why: str
    retention: Literal["limits", "workqueue"] = "limits"
    storage: Literal["file", "memory"] = "file"
    discard: Literal["old", "new"] = "old"
    max_age_s: float = 0
    max_bytes: int = -1
    max_msgs_per_subject: int = -1
    duplicate_window_s: float = 120
    allow_atomic: bool = False
    allow_direct: bool = False


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """One durable pull consumer; ``name`` is its service, so that permissions can name it."""

    stream: str
    name: str
    filters: tuple[str, ...]
    ack_wait_s: float = ACK_WAIT_S
    max_ack_pending: int = 1000


EVENTS = StreamSpec(
    "EVENTS", ("evt.>",), "one total order: whoever reacts to an event is later than it",
    discard="new", max_age_s=30 * 86_400, duplicate_window_s=1800, allow_atomic=True, allow_direct=True,
)  # fmt: skip
COMMANDS = StreamSpec(
    "COMMANDS", ("cmd.>",), "durable requests, each handled by one service",
    retention="workqueue", discard="new", duplicate_window_s=1800, allow_atomic=True,
)  # fmt: skip
SIGNALS = StreamSpec(
    "SIGNALS", ("sig.>",), "last values: speeds, progress, resolved sources",
    storage="memory", max_age_s=600, max_msgs_per_subject=1, max_bytes=32 * MIB, allow_direct=True,
)  # fmt: skip
LOGS = StreamSpec("LOGS", ("log.>",), "the live log tail of the user interface", max_age_s=86_400, max_bytes=32 * MIB)
CHAT = StreamSpec("CHAT", ("chat.>",), "live chat to browsers", storage="memory", max_age_s=600, max_bytes=32 * MIB)
LIVE = StreamSpec(
    "LIVE", ("live.>",), "media to viewers: the GOP cache of every gateway replica",
    storage="memory", max_age_s=20, max_bytes=128 * MIB,
)  # fmt: skip
DLQ = StreamSpec(
    "DLQ",
    ("dlq.>",),
    # Full it drops its oldest copies: the letters themselves are in their owner's table, and a full stream would stop the owner's relay.
    "what could not be handled, whole and with its reason",
    allow_atomic=True,
    max_bytes=256 * MIB,
)

STREAMS = (EVENTS, COMMANDS, SIGNALS, LOGS, CHAT, LIVE, DLQ)


def stream_of(subject: str) -> str:
    """The stream that captures a subject; raises KeyError when none does."""
    return _BY_PREFIX[subject.split(".", 1)[0]]


_BY_PREFIX = {spec.subjects[0].split(".", 1)[0]: spec.name for spec in STREAMS}


@cache
def consumers() -> tuple[ConsumerSpec, ...]:
    """Every durable consumer of the system, derived from who consumes what."""
    specs = [ConsumerSpec("COMMANDS", service, (subjects.commands_of(service),)) for service in SERVICES]
    for service in SERVICES:
        filters = tuple(subjects.filter_of(event) for event in topology.CONSUMES[service])
        if filters:
            specs.append(ConsumerSpec("EVENTS", service, filters))
    specs.append(ConsumerSpec("EVENTS", topology.PROJECTOR, ("evt.>",), max_ack_pending=10_000))
    return tuple(specs)

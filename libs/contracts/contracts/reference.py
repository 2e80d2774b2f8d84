"""The reference of the vocabulary for people, ``docs/events.md``: who says what, when, and who listens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contracts import catalogue, prose, schemas, streams, system, topology
from contracts.message import Event, Message
from contracts.registry import Registry
from contracts.system import SERVICES

SCHEMAS = "../libs/contracts/schemas"
"""Where the schema files are, seen from the folder of the page."""

PROJECTOR = "gateway (projector)"

_NAMES_PER_ARROW = 4
_ARROWS = {"event": "-->", "command": "==>", "signal": "-.->"}
_COLUMNS = {
    "event": ("emitted by", "consumed by"),
    "command": ("sent by", "handled by"),
    "signal": ("emitted by", "read by"),
}
_INTRODUCTION = """\
# Events, commands and signals

<!-- Generated from libs/contracts by `make contracts`. Change the classes, not this page. -->

Everything that travels between the services, derived from the classes in `libs/contracts/contracts`.

- An **event** is a fact of one aggregate. It is kept for ever, has one owner and may have many readers.
- A **command** asks one service for something. It is durable, is handled once, and leads to events or to a rejection.
- A **signal** is a last value that may be lost: progress, speeds, resolved sources. It is never history.

A message is JSON below CloudEvents 1.0 headers (`ce-id`, `ce-type`, `ce-time`, …). Its type is `aircheck.` and the name in the tables below; each
name links to the JSON Schema of the body. The *key* is the field that names the aggregate of an event, the thing a command is about, or the last
value a signal replaces. [asyncapi.json](asyncapi.json) has the same for machines, with the headers and the address of every message.

**Changing a message.** A new optional field, a looser bound or a new member of an enumeration keeps the major version: change the class, run
`make contracts`, commit what it wrote. Anything that takes something away — a removed or renamed field, another type, a narrower bound, a new
required field — is refused, because history holds the old form: declare a new class with the next major version and a step from the old one
(`Registry.upcast`), and publish both for one release. A reader that is older than the writer ignores fields it does not know; an enumeration value it
does not know goes to the dead letters and can be replayed after the upgrade, so upgrade readers first.
"""


def page(registry: Registry) -> str:
    """The whole page as Markdown."""
    own = [cls for cls in registry.all() if not issubclass(cls, system.SHAPES)]
    return "\n".join(
        [_INTRODUCTION, _flow(own), _streams(), *(_service(service, own) for service in SERVICES), _every_service()]
    )


def _flow(own: Sequence[type[Message]]) -> str:
    """The picture: what leads from one service to another."""
    arrows: dict[tuple[str, str, str], list[type[Message]]] = {}
    for cls in own:
        for sender in topology.senders(cls):
            for receiver in _drawn_receivers(cls):
                arrows.setdefault((sender, receiver, schemas.kind(cls)), []).append(cls)
    return "\n".join(
        [
            "## The flow",
            "",
            "Thin arrows are events, thick ones commands, dotted ones signals. Not drawn: the gateway, which reads every event (into the",
            "event store) and every signal; and the [messages of every service](#messages-of-every-service).",
            "",
            "```mermaid",
            "flowchart LR",
            *(f"    {service}[{service}]" for service in SERVICES),
            *(
                f'    {sender} {_ARROWS[kind]}|"{_label(kind, classes)}"| {receiver}'
                for (sender, receiver, kind), classes in sorted(arrows.items())
            ),
            "```",
            "",
        ]
    )


def _drawn_receivers(cls: type[Message]) -> tuple[str, ...]:
    return tuple(receiver for receiver in topology.receivers(cls) if receiver != "gateway")


def _label(kind: str, classes: Sequence[type[Message]]) -> str:
    if len(classes) > _NAMES_PER_ARROW:
        return f"{len(classes)} {kind}s"
    return "<br/>".join(_short(cls) for cls in classes)


def _short(cls: type[Message]) -> str:
    """The name inside its service: ``session.opened``, ``start_recording``."""
    return cls.message_type.removeprefix(f"{cls.service}.").rsplit(".", 1)[0]


def _streams() -> str:
    rows = [
        (f"`{spec.name}`", f"`{', '.join(spec.subjects)}`", spec.why, _kept(spec), _readers(spec.name))
        for spec in streams.STREAMS
    ]
    return _section(
        "## Streams",
        "The JetStream streams these messages are kept in, and those of logs, chat, media and dead letters.",
        _table(("stream", "subjects", "why", "kept", "durable consumers"), rows),
    )


def _kept(spec: streams.StreamSpec) -> str:
    limits = [
        "until handled" if spec.retention == "workqueue" else "",
        _age(spec.max_age_s),
        f"{spec.max_bytes // streams.MIB} MiB" if spec.max_bytes > 0 else "",
        f"{spec.max_msgs_per_subject} per subject" if spec.max_msgs_per_subject > 0 else "",
    ]
    return ", ".join([spec.storage, *(limit for limit in limits if limit)])


def _age(seconds: float) -> str:
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s" if seconds else ""


def _readers(stream: str) -> str:
    return ", ".join(consumer.name for consumer in streams.consumers() if consumer.stream == stream) or "none"


def _service(service: str, own: Sequence[type[Message]]) -> str:
    module = next(module for module in catalogue.MODULES if module.__name__ == f"contracts.{service}")
    parts = [f"## {service}", prose.markdown(module.__doc__ or "")]
    for kind in _COLUMNS:
        classes = [cls for cls in own if cls.service == service and schemas.kind(cls) == kind]
        if classes:
            parts += [f"### {kind.title()}s of {service}", _messages(kind, classes)]
    return _section(*parts)


def _messages(kind: str, classes: Sequence[type[Message]]) -> str:
    rows = [
        (
            f"[`{cls.message_type}`]({SCHEMAS}/{cls.message_type}.json)",
            prose.when(cls),
            f"`{cls.key_field}`",
            _listed(topology.senders(cls)),
            _listed(_all_receivers(cls)),
        )
        for cls in classes
    ]
    return _table(("type", "when", "key", *_COLUMNS[kind]), rows)


def _all_receivers(cls: type[Message]) -> tuple[str, ...]:
    return (*topology.receivers(cls), PROJECTOR) if issubclass(cls, Event) else topology.receivers(cls)


def _every_service() -> str:
    """One row for each shape that all services have, with a placeholder for the service."""
    rows = []
    for shape in system.SHAPES:
        one = system.of(SERVICES[0], shape)
        rows.append(
            (
                f"`{one.message_type.replace(one.service, '<service>', 1)}`",
                schemas.kind(one),
                prose.when(one),
                f"`{one.key_field}`",
                _everybody(topology.senders(one)),
                _everybody(_all_receivers(one)),
            )
        )
    return _section(
        "## Messages of every service",
        f"Each of the {len(SERVICES)} services has its own class of these shapes; `<service>` is its name.",
        _table(("type", "kind", "when", "key", "sent by", "read by"), rows),
    )


def _everybody(names: Sequence[str]) -> str:
    return _listed(["the service" if name == SERVICES[0] else name for name in names])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _section(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"

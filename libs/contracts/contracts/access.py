"""Least privilege on the bus: what each service may publish and subscribe to, derived from the topology.

JetStream API and acknowledgement subjects are those of the NATS reference (``$JS.API.…``, ``$JS.ACK.…``; servers that put domain and account
into the acknowledgement subject add two tokens before the stream).
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts import streams, subjects, topology

PROVISIONER = "provisioner"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Allowed subjects; everything else is refused by the server."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def inbox_prefix(service: str) -> str:
    """Replies to a service arrive below this subject, which no other service may read."""
    return f"_INBOX_{service}"


def permissions(service: str) -> Permissions:
    """The permissions of one service's NATS user."""
    publish = [
        subjects.events_of(service), subjects.signals_of(service), f"log.{service}.>", f"dlq.{service}.>",
        *(subjects.filter_of(command) for command in topology.SENDS[service]),
        "$JS.API.INFO",
        *(f"$JS.API.STREAM.INFO.{spec.name}" for spec in streams.STREAMS),
    ]  # fmt: skip
    for consumer in streams.consumers():
        owner = "gateway" if consumer.name == topology.PROJECTOR else consumer.name
        if owner == service:
            publish += _consume(consumer.stream, consumer.name)
    subscribe = [f"{inbox_prefix(service)}.>"]
    for signal in topology.LISTENS[service]:
        publish.append(f"$JS.API.DIRECT.GET.SIGNALS.{subjects.filter_of(signal)}")
        subscribe.append(subjects.filter_of(signal))
    publish += _EXTRA_PUBLISH.get(service, ())
    subscribe += _EXTRA_SUBSCRIBE.get(service, ())
    return Permissions(tuple(publish), tuple(subscribe))


def provisioner() -> Permissions:
    """The one-off job that creates streams and consumers: the JetStream API and nothing else."""
    return Permissions(("$JS.API.>",), (f"{inbox_prefix(PROVISIONER)}.>",))


def _consume(stream: str, consumer: str) -> list[str]:
    return [
        f"$JS.API.CONSUMER.INFO.{stream}.{consumer}",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
        f"$JS.ACK.{stream}.{consumer}.>",
        f"$JS.ACK.*.*.{stream}.{consumer}.>",
    ]


_EXTRA_PUBLISH = {
    "danmu": ("chat.>",),
    "downloader": ("live.>",),
    "gateway": ("$JS.API.DIRECT.GET.SIGNALS.sig.>",),
}
_EXTRA_SUBSCRIBE = {"gateway": ("sig.>", "log.>", "chat.>", "live.>")}

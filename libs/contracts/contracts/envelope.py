"""CloudEvents 1.0 in binary mode over NATS headers.

Attributes follow the CloudEvents 1.0.2 specification with the ``ce-`` prefix of the binary mode of its NATS binding (the body is the data alone);
``traceparent`` and ``tracestate`` are plain headers as in W3C Trace Context.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote
from uuid import UUID

from pydantic_core import to_json

from contracts.message import PREFIX, Command, Event, Message

SPEC_VERSION = "1.0"
_PLAIN = " !#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What header values hold as it is; everything else is percent-encoded, as in CloudEvents' HTTP binding (3.1.3.2): names of people are any text,
and the clients of the bus disagree about what is not ASCII. Blanks inside a value are left alone for the sake of ``tracestate``."""
MESSAGE_ID = "Nats-Msg-Id"
REPLAYED = "Aircheck-Replayed"


class MalformedEnvelope(ValueError):
    """Headers that are not an envelope of ours: a poison message."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What explains a message but is not part of its fact."""

    correlation_id: UUID
    causation_id: UUID | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    actor: str | None = None

    def to_json(self) -> str:
        """The stored form: a flat JSON object without empty values."""
        return to_json(self.to_dict()).decode()

    def to_dict(self) -> dict[str, str]:
        """Names as in the headers; empty values are left out."""
        values = {
            "correlationid": str(self.correlation_id),
            "causationid": str(self.causation_id) if self.causation_id else None,
            "traceparent": self.traceparent,
            "tracestate": self.tracestate,
            "actor": self.actor,
        }
        return {name: value for name, value in values.items() if value}

    @classmethod
    def from_dict(cls, values: Mapping[str, str]) -> Metadata:
        """The inverse of :meth:`to_dict`; raises ValueError when an id is not a UUID."""
        causation = values.get("causationid")
        return cls(
            correlation_id=UUID(values["correlationid"]),
            causation_id=UUID(causation) if causation else None,
            traceparent=values.get("traceparent"),
            tracestate=values.get("tracestate"),
            actor=values.get("actor"),
        )


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message with everything around it. ``sequence`` is the aggregate version of an event, 0 for a command."""

    id: UUID
    type: str
    source: str
    subject: str
    time: datetime
    sequence: int
    metadata: Metadata
    data: bytes
    replayed: bool = field(default=False, compare=False)

    @property
    def message_type(self) -> str:
        """The type without the product prefix, e.g. ``monitor.session.opened.v1``."""
        return self.type.removeprefix(f"{PREFIX}.")

    @property
    def service(self) -> str:
        """The service that owns the message: the emitter of an event, the receiver of a command."""
        return self.message_type.split(".", 1)[0]

    def to_headers(self) -> dict[str, str]:
        """NATS headers; ``ce-id`` and ``Nats-Msg-Id`` are the same id, so that the broker drops a repeat."""
        id = str(self.id)
        return {MESSAGE_ID: id, "ce-id": id, "ce-sequence": str(self.sequence), **self._common_headers()}

    def _common_headers(self) -> dict[str, str]:
        """What the events of one type in one append have in common."""
        headers = {
            "content-type": "application/json",
            "ce-specversion": SPEC_VERSION,
            "ce-type": self.type,
            "ce-source": self.source,
            "ce-subject": self.subject,
            "ce-time": self.time.isoformat(),
            "ce-dataschema": f"/schemas/{self.message_type}.json",
            **_headers_of(self.metadata),
        }
        if self.replayed:
            headers[REPLAYED] = "true"
        return headers

    @classmethod
    def from_headers(cls, headers: Mapping[str, str] | None, data: bytes) -> Envelope:
        """Read an envelope; raises :class:`MalformedEnvelope` naming what is wrong."""
        headers = headers or {}
        try:
            if headers["ce-specversion"] != SPEC_VERSION:
                raise ValueError(f"ce-specversion {headers['ce-specversion']!r} is not {SPEC_VERSION}")
            return cls(
                id=UUID(headers["ce-id"]),
                type=headers["ce-type"],
                source=headers["ce-source"],
                subject=headers["ce-subject"],
                time=_time(headers["ce-time"]),
                sequence=_sequence(headers.get("ce-sequence", "0")),
                metadata=Metadata.from_dict(
                    {name.removeprefix("ce-"): unquote(value) for name, value in headers.items()}
                ),
                data=data,
                replayed=headers.get(REPLAYED) == "true",
            )
        except KeyError as missing:
            raise MalformedEnvelope(f"header {missing} is missing") from None
        except ValueError as error:
            raise MalformedEnvelope(str(error)) from None

    def to_structured(self) -> dict[str, Any]:
        """CloudEvents structured mode: what webhooks, SSE and the API show."""
        return {
            "specversion": SPEC_VERSION,
            "id": str(self.id),
            "type": self.type,
            "source": self.source,
            "subject": self.subject,
            "time": self.time.isoformat(),
            "datacontenttype": "application/json",
            "dataschema": f"/schemas/{self.message_type}.json",
            "sequence": str(self.sequence),
            **self.metadata.to_dict(),
            "data": json.loads(self.data),
        }


@lru_cache(maxsize=64)
def _headers_of(metadata: Metadata) -> Mapping[str, str]:
    # Remembered, because the events of one append share their metadata.
    return {
        name if name.startswith("trace") else f"ce-{name}": quote(value, safe=_PLAIN)
        for name, value in metadata.to_dict().items()
    }


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"ce-time {text!r} has no time zone, which RFC 3339 demands")
    return time


def _sequence(text: str) -> int:
    sequence = int(text)
    if sequence < 0:
        raise ValueError(f"ce-sequence {text!r} is negative")
    return sequence


def wrap(
    message: Message, *, id: UUID, metadata: Metadata, source: str, sequence: int = 0, time: datetime | None = None
) -> Envelope:
    """Put a message into its envelope. ``source`` is the name of the sending service."""
    subject = f"{message.aggregate}/{message.key}" if isinstance(message, Event) else message.key
    return Envelope(
        id=id,
        type=message.full_type(),
        source=f"/services/{source}",
        subject=subject,
        time=time or datetime.now(UTC),
        sequence=sequence,
        metadata=metadata,
        data=message.to_json(),
    )


def wrap_series(
    events: Sequence[Event], *, new_id: Callable[[], UUID], metadata: Metadata, source: str, after: int, time: datetime
) -> list[Envelope]:
    """Put events of one aggregate into their envelopes, as :func:`wrap` does; the first one gets the sequence behind ``after``."""
    sender, subject = f"/services/{source}", f"{events[0].aggregate}/{events[0].key}"
    return [
        Envelope(new_id(), event.full_type(), sender, subject, time, sequence, metadata, event.to_json())
        for sequence, event in enumerate(events, after + 1)
    ]


def header_texts(envelopes: Iterable[Envelope]) -> list[str]:
    """The headers of each envelope as a JSON object. What the events of one append have in common is encoded once for each type."""
    texts: list[str] = []
    known: dict[str, tuple[Envelope, str]] = {}
    for one in envelopes:
        like, common = known.get(one.type, (None, ""))
        if like is None or not _in_one_append(one, like):
            common = to_json(one._common_headers()).decode()[1:]
            known[one.type] = one, common
        id = str(one.id)
        texts.append(f'{{"{MESSAGE_ID}":"{id}","ce-id":"{id}","ce-sequence":"{one.sequence}",{common}')
    return texts


def _in_one_append(one: Envelope, other: Envelope) -> bool:
    # The same objects, not equal ones: metadata take long to compare, and equal times may be written in two ways.
    return (
        one.metadata is other.metadata
        and one.time is other.time
        and one.subject == other.subject
        and one.source == other.source
        and one.replayed == other.replayed
    )


__all__ = ["Command", "Envelope", "MalformedEnvelope", "Metadata", "header_texts", "wrap", "wrap_series"]

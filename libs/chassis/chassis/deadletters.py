"""Messages that could not be handled: put aside with their reason, never lost, never in the way."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from contracts import subjects, system
from contracts.envelope import Envelope, MalformedEnvelope, Metadata

from chassis import eventlog
from chassis.database import Connection, Pool
from chassis.delivery import Delivery
from chassis.eventlog import Loaded
from chassis.ids import new_id, new_key
from chassis.redaction import without_secrets
from chassis.sql import beside

QUERIES = beside(__file__, "deadletters.sql")
MAX_ERROR = 2000
MAX_COPY = 900 * 1024
"""Bytes of the copy on the DLQ stream, headers included: the bus takes 1 MiB by default."""


async def bury(pool: Pool, service: str, consumer: str, delivery: Delivery, error: BaseException) -> str:
    """Store a delivery, say so in the log and send it whole to the DLQ stream, in one transaction. Returns the letter's id.

    A message that is buried a second time (its term was lost) keeps its first letter.
    """
    message_id, message_type = identity(delivery)
    buried = system.of(service, system.DeadLetterBuried)(
        letter_id=new_key(),
        consumer=consumer,
        message_id=message_id,
        letter_type=message_type,
        subject=_storable(delivery.subject),
        error_type=type(error).__name__,
        error=_storable(without_secrets(str(error)))[:MAX_ERROR],
        deliveries=delivery.deliveries,
    )
    async with pool.acquire() as connection, connection.transaction():
        if not await _store(connection, delivery, buried):
            return str(await connection.fetchval(QUERIES["find_by_message"], consumer, message_id))
        metadata = _metadata(delivery)
        await eventlog.append(connection, service, Loaded(buried.stream, None, 0), [buried], metadata=metadata)
        await _forward(connection, service, delivery, buried)
    return buried.letter_id


async def find(connection: Connection, letter_id: str) -> Any:
    """The stored letter or ``None``."""
    return await connection.fetchrow(QUERIES["find"], letter_id)


async def forget(connection: Connection, letter_id: str) -> None:
    """Remove a letter that was replayed or dropped; its history stays in the log."""
    await connection.execute(QUERIES["forget"], letter_id)


def envelope_of(letter: Any) -> Envelope:
    """The message inside a letter; raises MalformedEnvelope when it never was one of ours."""
    return Envelope.from_headers(json.loads(letter["headers"]), letter["payload"])


def identity(delivery: Delivery) -> tuple[str, str]:
    """The id and the type of a message as its headers tell them; what has no id is known by its place and its content."""
    nameless = f"sequence-{delivery.sequence}-{hashlib.sha256(delivery.data).hexdigest()[:16]}"
    return _storable(delivery.headers.get("ce-id", nameless)), _storable(delivery.headers.get("ce-type", "unknown"))


async def _store(connection: Connection, delivery: Delivery, buried: system.DeadLetterBuried) -> bool:
    stored = await connection.fetchval(
        QUERIES["bury"],
        buried.letter_id,
        buried.consumer,
        buried.message_id,
        buried.subject,
        json.dumps(_headers(delivery)),
        delivery.data,
        buried.error_type,
        buried.error,
        buried.deliveries,
    )
    return stored is not None


async def _forward(connection: Connection, service: str, delivery: Delivery, buried: system.DeadLetterBuried) -> None:
    headers = {
        **{name: value for name, value in _headers(delivery).items() if not name.startswith("Nats-")},
        "Nats-Msg-Id": f"dead-{buried.letter_id}",
        "Aircheck-Subject": buried.subject,
        "Aircheck-Letter": buried.letter_id,
        "Aircheck-Error": " ".join(buried.error.split())[:500],
    }
    body = delivery.data
    if len(body) + sum(len(name) + len(value) for name, value in headers.items()) > MAX_COPY:
        # With our headers it would exceed what the bus takes and block the relay for ever; the table has it whole.
        headers["Aircheck-Truncated"], body = str(len(body)), b""
    subject = subjects.dead_letter_of(service, buried.consumer)
    await connection.execute(eventlog.QUERIES["enqueue"], new_id(), subject, json.dumps(headers), body)


def _headers(delivery: Delivery) -> dict[str, str]:
    return {_storable(name): _storable(value) for name, value in delivery.headers.items()}


def _storable(text: str) -> str:
    # Neither text nor jsonb take U+0000 or half a surrogate pair, and poison may hold either.
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _metadata(delivery: Delivery) -> Metadata:
    try:
        envelope = Envelope.from_headers(delivery.headers, delivery.data)
    except MalformedEnvelope:
        return Metadata(correlation_id=new_id())
    return Metadata(
        envelope.metadata.correlation_id, envelope.id, envelope.metadata.traceparent, envelope.metadata.tracestate
    )

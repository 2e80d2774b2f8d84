"""Messages that could not be handled: put aside with their reason, never lost, never in the way."""

from __future__ import annotations

import json
from typing import Any

from contracts import subjects, system
from contracts.envelope import Envelope, MalformedEnvelope, Metadata

from chassis import eventlog
from chassis.database import Connection, Pool
from chassis.delivery import Delivery
from chassis.eventlog import Loaded
from chassis.ids import new_id, new_key
from chassis.sql import beside

QUERIES = beside(__file__, "deadletters.sql")
MAX_ERROR = 2000


async def bury(pool: Pool, service: str, consumer: str, delivery: Delivery, error: BaseException) -> str:
    """Store a delivery, say so in the log and send it whole to the DLQ stream, in one transaction. Returns the letter's id.

    A message that is buried a second time (its term was lost) keeps its first letter.
    """
    message_id, message_type = _identity(delivery)
    async with pool.acquire() as connection, connection.transaction():
        known = await connection.fetchval(QUERIES["find_by_message"], consumer, message_id)
        if known is not None:
            return str(known)
        letter_id, text = new_key(), f"{error}"[:MAX_ERROR]
        headers = json.dumps(dict(delivery.headers))
        await connection.execute(
            QUERIES["bury"],
            letter_id,
            consumer,
            delivery.subject,
            headers,
            delivery.data,
            type(error).__name__,
            text,
            delivery.deliveries,
        )
        buried = system.of(service, system.DeadLetterBuried)(
            letter_id=letter_id,
            consumer=consumer,
            message_id=message_id,
            letter_type=message_type,
            subject=delivery.subject,
            error_type=type(error).__name__,
            error=text,
            deliveries=delivery.deliveries,
        )
        metadata = _metadata(delivery)
        await eventlog.append(connection, service, Loaded(buried.stream, None, 0), [buried], metadata=metadata)
        await _forward(connection, service, consumer, delivery, buried)
    return letter_id


async def find(connection: Connection, letter_id: str) -> Any:
    """The stored letter or ``None``."""
    return await connection.fetchrow(QUERIES["find"], letter_id)


async def forget(connection: Connection, letter_id: str) -> None:
    """Remove a letter that was replayed or dropped; its history stays in the log."""
    await connection.execute(QUERIES["forget"], letter_id)


def envelope_of(letter: Any) -> Envelope:
    """The message inside a letter; raises MalformedEnvelope when it never was one of ours."""
    return Envelope.from_headers(json.loads(letter["headers"]), letter["payload"])


async def _forward(
    connection: Connection, service: str, consumer: str, delivery: Delivery, buried: system.DeadLetterBuried
) -> None:
    headers = {
        **{name: value for name, value in delivery.headers.items() if not name.startswith("Nats-")},
        "Nats-Msg-Id": f"dead-{buried.letter_id}",
        "Aircheck-Subject": delivery.subject,
        "Aircheck-Letter": buried.letter_id,
        "Aircheck-Error": buried.error.replace("\n", " ").replace("\r", " ")[:500],
    }
    subject = subjects.dead_letter_of(service, consumer)
    await connection.execute(eventlog.QUERIES["enqueue"], new_id(), subject, json.dumps(headers), delivery.data)


def _identity(delivery: Delivery) -> tuple[str, str]:
    return delivery.headers.get("ce-id", f"sequence-{delivery.sequence}"), delivery.headers.get("ce-type", "unknown")


def _metadata(delivery: Delivery) -> Metadata:
    try:
        envelope = Envelope.from_headers(delivery.headers, delivery.data)
    except MalformedEnvelope:
        return Metadata(correlation_id=new_id())
    return Metadata(
        envelope.metadata.correlation_id, envelope.id, envelope.metadata.traceparent, envelope.metadata.tracestate
    )

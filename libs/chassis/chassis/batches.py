"""Messages of the outbox on their way to JetStream: as atomic batches, or one after the other.

Atomic batches (JetStream ≥ 2.12, ``Nats-Batch-*`` headers of ADR-50): all or nothing, one acknowledgement for up to 1000 messages, at most 50
open per stream. The server keeps a batch aside until its last message, which carries the commit, and drops it after 10 s without one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import NamedTuple

import structlog
from nats.errors import Error as NatsError
from pydantic_core import from_json

from chassis import wire
from chassis.bus import Bus
from chassis.ids import new_id

YIELD_EVERY = 100
"""Messages; the server works on them meanwhile, and so may other tasks: a whole batch takes 5 ms to write."""
NOT_ENABLED, DUPLICATE = 10174, 10201
_FAILURES: tuple[type[BaseException], ...] = (NatsError, OSError, TimeoutError)

log = structlog.get_logger(__name__)


class PublishFailed(Exception):
    """The bus did not take a batch; nothing of it counts as sent."""


class BatchRejected(PublishFailed):
    """The server refused a batch with an error code of its own."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code


class Outgoing(NamedTuple):
    """One row of the outbox. ``headers`` is a JSON object of strings, as the database prints it."""

    id: int
    subject: str
    headers: str
    payload: bytes


async def stage(bus: Bus, batch: Sequence[Outgoing]) -> str:
    """Send a batch of at least two messages but for its last one, and return the batch's id; raises PublishFailed.

    Nothing is acknowledged and nothing is stored before :func:`publish_atomic` gets the id. Only for streams that have just taken a batch: a
    server that knows none would store each message by itself.
    """
    batch_id = new_id().hex
    try:
        await _send(bus, batch, batch_id, first=1)
    except _FAILURES as error:
        raise PublishFailed(repr(error)) from error
    return batch_id


async def publish_atomic(bus: Bus, batch: Sequence[Outgoing], *, staged: str = "", timeout: float = 5.0) -> None:
    """Publish up to 1000 messages of one stream as a unit; raises BatchRejected, or PublishFailed when the outcome is unknown.

    ``staged`` is the id under which the server has everything but the last message.
    """
    batch_id, last = staged or new_id().hex, len(batch)
    try:
        if not staged and last > 1:
            # Acknowledged before anything else is sent, by a server that knows batches with an empty answer.
            opened = await _request(bus, batch, batch_id, 1, timeout)
            _check(opened, opening=True, expected=last)
            await _send(bus, batch, batch_id, first=2)
        _check(await _request(bus, batch, batch_id, last, timeout), opening=False, expected=last)
    except _FAILURES as error:
        raise PublishFailed(repr(error)) from error


async def publish_one_by_one(bus: Bus, batch: Sequence[Outgoing]) -> int:
    """Publish in order, each acknowledged before the next; returns how many went out before the first failure."""
    for done, one in enumerate(batch):
        try:
            await bus.publish(one.subject, one.payload, from_json(one.headers))
        except _FAILURES as error:
            log.warning("relay.publish_failed", subject=one.subject, error=repr(error))
            return done
    return len(batch)


async def _send(bus: Bus, batch: Sequence[Outgoing], batch_id: str, *, first: int) -> None:
    mark = f"Nats-Batch-Id: {batch_id}\r\nNats-Batch-Sequence: "
    for start in range(first, len(batch), YIELD_EVERY):
        some = batch[start - 1 : min(start - 1 + YIELD_EVERY, len(batch) - 1)]
        await wire.publish(
            bus.client,
            [
                (subject, f"{wire.stored_header_lines(headers)}{mark}{number}\r\n", payload)
                for number, (_, subject, headers, payload) in enumerate(some, start)
            ],
        )
        await asyncio.sleep(0)


async def _request(bus: Bus, batch: Sequence[Outgoing], batch_id: str, number: int, timeout: float) -> bytes:
    one = batch[number - 1]
    headers = {**from_json(one.headers), "Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(number)}
    if number == len(batch):
        headers["Nats-Batch-Commit"] = "1"
    return (await bus.client.request(one.subject, one.payload, headers=headers, timeout=timeout)).data


def _check(reply: bytes, *, opening: bool, expected: int) -> None:
    answer = json.loads(reply) if reply else {}
    if "error" in answer:
        raise BatchRejected(answer["error"].get("err_code", 0), answer["error"].get("description", ""))
    # A server that knows no batches stores each message by itself and says so; nothing would vouch for those in the middle.
    if (opening and answer) or (not opening and answer.get("count") != expected):
        raise BatchRejected(NOT_ENABLED, "the server took the batch for single messages")

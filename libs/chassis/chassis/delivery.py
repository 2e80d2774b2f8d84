"""One delivery of one message, whatever client received it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Delivery:
    """A message as the bus handed it over. ``sequence`` is its place in the stream, ``deliveries`` counts from 1."""

    raw: Any
    subject: str
    headers: Mapping[str, str]
    data: bytes
    sequence: int
    deliveries: int
    settled: bool = False

    @classmethod
    def of(cls, raw: Any) -> Delivery:
        """Wrap a message of the NATS client."""
        metadata = raw.metadata
        return cls(raw, raw.subject, raw.headers or {}, raw.data, metadata.sequence.stream, metadata.num_delivered)

    @property
    def ends_batch(self) -> bool:
        """Whether nothing comes behind it that was published together with it, in one atomic batch (ADR-50 of NATS)."""
        return "Nats-Batch-Id" not in self.headers or "Nats-Batch-Commit" in self.headers

    async def ack(self) -> None:
        """Handled: never deliver it again."""
        self.settled = True
        await self.raw.ack()

    async def nak(self, delay_s: float) -> None:
        """Deliver it again after ``delay_s``. A nak without a delay ignores every back-off and burns all deliveries within milliseconds."""
        self.settled = True
        await self.raw.nak(delay=max(delay_s, 0.001))

    async def in_progress(self) -> None:
        """Still in hand: start the time for the acknowledgement anew. Not after it was settled, where that would overrule the delay of a nak."""
        if not self.settled:
            await self.raw.in_progress()

    async def give_back(self) -> None:
        """Not handled here: deliver it to somebody else now."""
        await self.nak(0)

    async def term(self) -> None:
        """Never deliver it again, it is in the dead letters."""
        self.settled = True
        await self.raw.term()

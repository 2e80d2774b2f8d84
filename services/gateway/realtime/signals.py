"""The last values of everything that is going on, and the signals that wake the follower."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any
from uuid import UUID

from chassis.bus import Bus
from contracts.danmu import ChatPulse
from contracts.downloader import RecordingProgress, ReplicaStatus
from contracts.gateway import Projected
from contracts.message import Message, Signal
from contracts.pipeline import JobProgress
from contracts.system import CommandSettled
from contracts.uploader import UploadProgress

from services.gateway.realtime.follower import Follower
from services.gateway.realtime.mailbox import Mailbox

SHOWN: tuple[type[Signal], ...] = (RecordingProgress, ReplicaStatus, JobProgress, UploadProgress)
"""What clients may see. Resolved sources are not among them: their addresses may be signed."""
KNOWN: tuple[type[Signal], ...] = (*SHOWN, ChatPulse)
"""What is kept to be asked for. Statistics of chats are too large to be sent to every client every few seconds."""
FRESH_S = 15.0
KEPT = 10_000


class Signals:
    """Listens to every signal of the system."""

    def __init__(self, bus: Bus, follower: Follower) -> None:
        self.bus, self.follower = bus, follower
        self._last: OrderedDict[tuple[type[Message], str], tuple[float, Signal]] = OrderedDict()
        self._subscribers: set[Mailbox] = set()
        self._subscription: Any = None

    async def start(self) -> None:
        """Begin to listen."""
        self._subscription = await self.bus.listen("sig.>", self._receive)

    async def stop(self) -> None:
        """Stop listening."""
        if self._subscription is not None and self.bus.client.is_connected:
            await self._subscription.unsubscribe()

    def last(self, cls: type[Signal], key: str) -> dict[str, Any] | None:
        """The last value of a running thing, or ``None`` when it has not been heard of for a while."""
        received, signal = self._last.get((cls, key), (0.0, None))
        if signal is None or time.monotonic() - received > FRESH_S:
            return None
        return signal.model_dump(mode="json")

    def all(self, cls: type[Signal]) -> list[dict[str, Any]]:
        """The last value of everything of a kind that was heard of lately, by name."""
        keys = sorted(key for kind, key in self._last if kind is cls)
        return [value for key in keys if (value := self.last(cls, key)) is not None]

    def subscribe(self, box: Mailbox) -> None:
        """Deliver every shown signal from now on."""
        self._subscribers.add(box)

    def unsubscribe(self, box: Mailbox) -> None:
        """Deliver nothing more."""
        self._subscribers.discard(box)

    async def _receive(self, _: str, message: Message) -> None:
        if isinstance(message, Projected):
            self.follower.projected(message.position, message.pending)
        elif isinstance(message, CommandSettled):
            self.follower.settled(UUID(message.command_id))
        elif isinstance(message, KNOWN):
            self._keep(message)
            for box in self._subscribers if isinstance(message, SHOWN) else ():
                box.offer(message)

    def _keep(self, signal: Signal) -> None:
        key = (type(signal), signal.key)
        self._last[key] = (time.monotonic(), signal)
        self._last.move_to_end(key)
        while len(self._last) > KEPT:
            self._last.popitem(last=False)

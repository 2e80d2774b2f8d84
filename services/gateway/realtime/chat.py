"""Live chat lines of sessions that somebody looks at. One subscription per session, however many look."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from chassis.bus import Bus
from contracts import subjects

from services.gateway.realtime.mailbox import Mailbox


@dataclass(frozen=True, slots=True)
class ChatLine:
    """One line as the chat service published it."""

    session_id: str
    line: dict[str, Any]


class Chat:
    """Shares the chat of sessions among clients."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._rooms: dict[str, set[Mailbox]] = {}
        self._subscriptions: dict[str, Any] = {}

    async def join(self, session_id: str, box: Mailbox) -> None:
        """Deliver the lines of a session from now on; raises subjects.BadToken for an id that cannot be one."""
        subject = subjects.chat_of(session_id)
        room = self._rooms.setdefault(session_id, set())
        room.add(box)
        if session_id not in self._subscriptions:
            # Claimed before the await: a second client that joins meanwhile must not subscribe again.
            self._subscriptions[session_id] = None
            self._subscriptions[session_id] = await self.bus.client.subscribe(subject, cb=self._receiver(session_id))
            if not self._rooms.get(session_id):
                await self._close(session_id)

    async def leave(self, box: Mailbox) -> None:
        """Deliver nothing more; the last one out closes the subscription."""
        for session_id, room in list(self._rooms.items()):
            room.discard(box)
            if not room:
                await self._close(session_id)

    async def _close(self, session_id: str) -> None:
        if self._subscriptions.get(session_id) is None:
            return
        self._rooms.pop(session_id, None)
        subscription = self._subscriptions.pop(session_id)
        if self.bus.client.is_connected:
            await subscription.unsubscribe()

    def _receiver(self, session_id: str) -> Any:
        async def receive(message: Any) -> None:
            for line in _lines(message.data):
                for box in self._rooms.get(session_id, ()):
                    box.offer(ChatLine(session_id, line))

        return receive


def _lines(payload: bytes) -> list[dict[str, Any]]:
    found = []
    for text in payload.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            found.append(writable(line))
    return found


def writable(line: dict[str, Any]) -> dict[str, Any]:
    """A chat line without halves of surrogate pairs: a log can hold them, an answer in UTF-8 cannot."""
    replaced: dict[str, Any] = json.loads(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace"))
    return replaced

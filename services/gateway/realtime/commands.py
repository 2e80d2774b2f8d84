"""Send a command and wait until the read models show what became of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from chassis.bus import Bus
from chassis.eventlog import MAX_BODY
from chassis.ids import new_id
from contracts import subjects
from contracts.aggregate import Rejected
from contracts.envelope import Metadata, wrap
from contracts.message import Command
from contracts.system import CommandRejected, DeadLetterBuried

from services.gateway.realtime.follower import Follower
from services.gateway.store import events
from services.gateway.store.events import StoredEvent


class BusUnavailable(RuntimeError):
    """The command did not reach the bus: nothing will happen."""


class Refused(Rejected):
    """A service refused the command; carries its problem."""

    def __init__(self, rejection: CommandRejected) -> None:
        super().__init__(rejection.problem.title)
        self.problem = rejection.problem


class NotHandled(RuntimeError):
    """The service could not handle the command and put it into its dead letters: nothing happened, nothing is lost."""

    def __init__(self, letter_id: str) -> None:
        super().__init__(letter_id)
        self.letter_id = letter_id


@dataclass(frozen=True, slots=True)
class Executed:
    """What became of a command. ``done`` is False when nothing was heard in time: it is stored on the bus and will be handled.

    ``event`` is the first event it caused, ``None`` when it changed nothing.
    """

    command_id: UUID
    done: bool
    position: int
    event: StoredEvent | None = None


class Commands:
    """Publishes commands of people. The gateway has no state to keep with them, so the bus's acknowledgement is enough."""

    def __init__(self, bus: Bus, follower: Follower, *, wait_s: float) -> None:
        self.bus, self.follower, self.wait_s = bus, follower, wait_s

    async def execute(self, command: Command, metadata: Metadata, *, id: UUID | None = None) -> Executed:
        """Send and wait; raises :class:`Refused`, :class:`NotHandled`, :class:`BusUnavailable`, or ``Rejected`` for one the bus does not take.

        ``id`` repeats a command that may have been sent before: the bus and the receiver's inbox drop the second copy, its outcome is found in
        the store.
        """
        command_id = id or new_id()
        with self.follower.expecting(command_id) as outcome:
            if id is not None and (known := await events.caused_by(self.follower.pool, id)):
                return await self._executed(command_id, known)
            await self._publish(command, metadata, command_id)
            try:
                async with asyncio.timeout(self.wait_s):
                    event = await asyncio.shield(outcome)
            except TimeoutError:
                return Executed(command_id, False, self.follower.position)
        return await self._executed(command_id, event)

    async def send(self, command: Command, metadata: Metadata) -> UUID:
        """Send a command whose effect nobody waits for; raises :class:`BusUnavailable`."""
        command_id = new_id()
        await self._publish(command, metadata, command_id)
        return command_id

    async def _publish(self, command: Command, metadata: Metadata, command_id: UUID) -> None:
        envelope = wrap(command, id=command_id, metadata=metadata, source="gateway")
        if len(envelope.data) > MAX_BODY:
            detail = f"this makes a command of {len(envelope.data)} bytes, at most {MAX_BODY} are taken"
            raise Rejected("Content Too Large", status=413, detail=detail)
        try:
            await self.bus.publish(subjects.of(command), envelope.data, envelope.to_headers())
        except Exception as error:  # whatever the client of the bus raises: the command was not acknowledged
            raise BusUnavailable(repr(error)) from error

    async def _executed(self, command_id: UUID, event: StoredEvent | None) -> Executed:
        if event is None:
            return Executed(command_id, True, self.follower.position)
        if isinstance(event.event, CommandRejected):
            raise Refused(event.event)
        if isinstance(event.event, DeadLetterBuried):
            raise NotHandled(event.event.letter_id)
        # A command often leads to several events of one transaction; the answer shows what all of them made. The signal that tells of
        # them may be lost.
        return Executed(command_id, True, await self.follower.whole(event.position, self.wait_s), event)

"""The commands that every service answers in the same way: republish a range, replay or drop a dead letter."""

from __future__ import annotations

from typing import Any

from contracts import system
from contracts.aggregate import Rejected
from contracts.registry import load_vocabulary

from chassis import deadletters, eventlog, telemetry
from chassis.database import CONTENDED, UNREACHABLE
from chassis.errors import Conflict, Poison
from chassis.eventlog import QUERIES, Loaded
from chassis.handlers import Handlers
from chassis.work import Work

_PASSES_ON: tuple[type[BaseException], ...] = (Rejected, Conflict, *CONTENDED, *UNREACHABLE)


def add_maintenance(handlers: Handlers) -> None:
    """Give a service its three maintenance handlers."""
    service = handlers.service

    @handlers.command(system.of(service, system.Republish))
    async def republish(command: system.Republish, work: Work) -> None:
        count = await eventlog.republish(
            await work.begin(),
            service,
            first=command.from_position,
            last=command.to_position,
            stream=command.stream,
            from_version=command.from_version,
        )
        done = system.of(service, system.LogRepublished)(request_id=command.request_id, events=count)
        await work.append(Loaded(done.stream, None, 0), [done])

    @handlers.command(system.of(service, system.ReplayDeadLetter))
    async def replay_dead_letter(command: system.ReplayDeadLetter, work: Work) -> None:
        letter = await _letter(work, command.letter_id)
        await _handle_again(handlers, letter, work)
        await _close(work, system.of(service, system.DeadLetterReplayed)(letter_id=command.letter_id))

    @handlers.command(system.of(service, system.DropDeadLetter))
    async def drop_dead_letter(command: system.DropDeadLetter, work: Work) -> None:
        await _letter(work, command.letter_id)
        await _close(work, system.of(service, system.DeadLetterDropped)(letter_id=command.letter_id))


async def _handle_again(handlers: Handlers, letter: Any, work: Work) -> None:
    replay = work.metadata, work.message
    try:
        envelope = deadletters.envelope_of(letter)
        message = load_vocabulary().decode(envelope.type, envelope.data)
        if await work.connection.fetchval(QUERIES["inbox_seen"], letter["consumer"], envelope.id):
            return
        handler = handlers.find(type(message))
        if handler is None:
            raise Poison(f"{handlers.service} has no handler for {message.message_type}")
        # As if it had just been delivered: what follows is caused by the message, not by whoever had it replayed.
        work.metadata, work.message = telemetry.caused_by(envelope), envelope
        await handler(message, work)
        await work.connection.execute(QUERIES["inbox_record"], letter["consumer"], envelope.id)
    except _PASSES_ON:
        raise
    except Exception as error:
        # Not one more dead letter for the request to replay this one: whoever asked gets the reason.
        raise Rejected("The message fails again", status=409, detail=repr(error)[:500]) from error
    finally:
        work.metadata, work.message = replay


async def _letter(work: Work, letter_id: str) -> Any:
    letter = await deadletters.find(await work.begin(), letter_id)
    if letter is None:
        raise Rejected("Unknown dead letter", status=404, detail="it was replayed or dropped already")
    return letter


async def _close(work: Work, event: system.DeadLetterReplayed | system.DeadLetterDropped) -> None:
    await deadletters.forget(work.connection, event.letter_id)
    await work.append(Loaded(event.stream, None, 1), [event])

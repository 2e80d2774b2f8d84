"""What the notifier reacts to."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from chassis.handlers import Handlers
from chassis.secrets import SecretUnreadable, SystemKey
from chassis.work import Work
from contracts.aggregate import Rejected
from contracts.config import StreamerRemoved, StreamerResolved
from contracts.envelope import Envelope
from contracts.message import Event, Message
from contracts.monitor import SessionOpened
from contracts.notifier import Redeliver, RemoveTarget, SaveTarget, TestTarget
from contracts.topology import NOTIFIABLE

from services.notifier import domain, messages, store
from services.notifier.adapters.channel import Channels, InvalidTarget, Target
from services.notifier.domain import KIND, NOTIFICATION, TARGET
from services.notifier.messages import About
from services.notifier.settings import NotifierSettings
from services.notifier.store import Destination, Pending

MAX_ADDRESS = 8192


async def save_target(command: SaveTarget, work: Work) -> None:
    """Check a target, keep its secrets under a key of its own, and say what may be shown of it."""
    destination, host = await _opened(command, work)
    at = await work.load(TARGET, command.target_id)
    events = domain.decide_save(at.state, command, host)
    await work.append(at, events)
    key, enabled = work.resource(SystemKey), command.enabled
    if destination is not None:
        await store.save_target(work.connection, key, command.target_id, destination, command.events, enabled=enabled)
    elif events:
        await store.change_target(work.connection, command.target_id, command.events, enabled=enabled)


async def remove_target(command: RemoveTarget, work: Work) -> None:
    """Forget a target and its secrets; what is still under way to it ends at its next attempt."""
    at = await work.load(TARGET, command.target_id)
    await work.append(at, domain.decide_remove(at.state, command.target_id))
    await store.remove_target(work.connection, command.target_id)


async def test_target(command: TestTarget, work: Work) -> None:
    """Send one test message the way every message goes, also to a target that is not enabled."""
    at = await work.load(TARGET, command.target_id)
    domain.must_exist(at.state, command.target_id)
    await _request(command, work, [command.target_id], About())


async def redeliver(command: Redeliver, work: Work) -> None:
    """Offer a failed notification again."""
    at = await work.load(NOTIFICATION, command.notification_id)
    events = domain.decide_again(at.state, command.notification_id)
    if not events or at.state.request is None:
        return
    if not await store.target_exists(work.connection, at.state.request.target_id):
        raise Rejected("Target removed", detail="nobody is left to tell; drop the dead letter")
    if not await store.try_again(work.connection, command.notification_id):
        raise Rejected("Too old", detail="the event of this notification is not kept any more; drop the dead letter")
    await work.append(at, events)
    await work.offer(KIND, f"{KIND}:{command.notification_id}")


async def tell(event: Event, work: Work) -> None:
    """Ask for one notification per target that wants to hear of an event."""
    now, longest = datetime.now(UTC), work.resource(NotifierSettings).max_event_age_s
    listeners = await store.listeners(await work.begin())
    wanted = [target_id for target_id, patterns in listeners if domain.wants(patterns, event.message_type)]
    if wanted and not domain.is_history(_envelope(work).time, now, longest):
        await _request(event, work, wanted, About(*await store.about(work.connection, event)))


async def session_opened(event: SessionOpened, work: Work) -> None:
    """Tell of a broadcast and keep its title for what is told of it later."""
    await tell(event, work)
    await store.remember_session(work.connection, event)


async def remember_streamer(event: StreamerResolved, work: Work) -> None:
    """Keep the name of a streamer: later events carry its id alone."""
    await store.remember_streamer(await work.begin(), event.streamer_id, event.name)


async def forget_streamer(event: StreamerRemoved, work: Work) -> None:
    """Drop the name of a streamer that is gone."""
    await store.forget_streamer(await work.begin(), event.streamer_id)


def handlers() -> Handlers:
    """The registry of this service."""
    registry = Handlers("notifier")
    registry.command(SaveTarget)(save_target)
    registry.command(RemoveTarget)(remove_target)
    registry.command(TestTarget)(test_target)
    registry.command(Redeliver)(redeliver)
    registry.event(StreamerResolved)(remember_streamer)
    registry.event(StreamerRemoved)(forget_streamer)
    registry.event(SessionOpened)(session_opened)
    for cls in NOTIFIABLE:
        if cls is not SessionOpened:
            registry.event(cls)(tell)
    return registry


async def _request(message: Message, work: Work, target_ids: list[str], about: About) -> None:
    envelope, text = _envelope(work), messages.tell(message, about)
    ids = {target_id: domain.notification_id(envelope.id, target_id) for target_id in target_ids}
    loaded = {target_id: await work.load(NOTIFICATION, id) for target_id, id in ids.items()}
    for target_id, at in loaded.items():
        id, kind = ids[target_id], message.message_type
        events = domain.decide_request(
            at.state, notification_id=id, target_id=target_id, event_id=envelope.id, event_type=kind
        )
        if not events:
            continue
        await work.append(at, events)
        pending = Pending(target_id, kind, envelope.to_structured(), text.title, text.body, text.severity)
        await store.add_notification(work.connection, id, pending)
        await work.offer(KIND, f"{KIND}:{id}")


async def _opened(command: SaveTarget, work: Work) -> tuple[Destination | None, str | None]:
    if not command.sealed_address:
        return None, None
    key = work.resource(SystemKey)
    try:
        address = key.open(command.sealed_address)
        secret = key.open(command.sealed_secret) if command.sealed_secret else ""
    except SecretUnreadable:
        raise Rejected("Unreadable", status=422, detail="address or secret is not sealed with the system key") from None
    if len(address) > MAX_ADDRESS:
        raise Rejected("Bad target", status=422, detail=f"the address is longer than {MAX_ADDRESS} characters")
    channel, target = work.resource(Channels).of(command.kind), Target(address, secret)
    try:
        # In a thread: the first check of an Apprise address imports the library.
        await asyncio.to_thread(channel.check, target)
        return Destination(command.kind, address, secret), channel.host(target)
    except InvalidTarget as error:
        raise Rejected("Bad target", status=422, detail=str(error)) from None


def _envelope(work: Work) -> Envelope:
    if work.message is None:
        raise RuntimeError("the notifier tells of messages, and this work has none")
    return work.message

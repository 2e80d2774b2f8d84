"""What the config service reacts to."""

from __future__ import annotations

from chassis.egress import EgressPolicy, RefusedAddress, check_url
from chassis.eventlog import Loaded
from chassis.handlers import Handlers
from chassis.work import Work
from contracts.aggregate import Rejected
from contracts.config import (
    AddStreamer,
    ChangeStreamer,
    RemoveLayer,
    RemoveStreamer,
    SaveLayer,
    StartStreamer,
    StopStreamer,
)
from contracts.message import Event

from services.config import credentials, domain, store
from services.config.domain import LAYER, STREAMER, Streamer


async def add_streamer(command: AddStreamer, work: Work) -> None:
    """Watch one more channel, unless its address is refused or watched already."""
    _check_address(command.url, work.resource(EgressPolicy))
    at = await work.load(STREAMER, command.streamer_id)
    events = domain.decide_add(at.state, command)
    if command.template and not await store.layer_exists(work.connection, f"template-{command.template}"):
        raise Rejected("Unknown template", status=422, detail=f"there is no template {command.template}")
    if not await store.claim_url(work.connection, command.streamer_id, domain.url_key(command.url), command.template):
        raise Rejected("Already watched", detail="another streamer has this address")
    await _append_resolved(work, at, events)


async def change_streamer(command: ChangeStreamer, work: Work) -> None:
    """Change the name, template or own layer of a streamer."""
    at = await work.load(STREAMER, command.streamer_id)
    events = domain.decide_change(at.state, at.version, command)
    if command.template and not await store.layer_exists(work.connection, f"template-{command.template}"):
        raise Rejected("Unknown template", status=422, detail=f"there is no template {command.template}")
    template = STREAMER.fold(events, at.state).template
    if template != at.state.template:
        await store.set_template(work.connection, command.streamer_id, template)
    await _append_resolved(work, at, events)


async def remove_streamer(command: RemoveStreamer, work: Work) -> None:
    """Forget a streamer; its address may be added again."""
    at = await work.load(STREAMER, command.streamer_id)
    events = domain.decide_remove(at.state, at.version, command)
    await store.release_url(work.connection, command.streamer_id)
    await work.append(at, events)


async def start_streamer(command: StartStreamer, work: Work) -> None:
    """Watch a stopped streamer again."""
    at = await work.load(STREAMER, command.streamer_id)
    await _append_resolved(work, at, domain.decide_enabled(at.state, at.version, command))


async def stop_streamer(command: StopStreamer, work: Work) -> None:
    """Stop watching a streamer."""
    at = await work.load(STREAMER, command.streamer_id)
    await _append_resolved(work, at, domain.decide_enabled(at.state, at.version, command))


async def save_layer(command: SaveLayer, work: Work) -> None:
    """Set a shared layer and resolve every streamer that stands on it."""
    at = await work.load(LAYER, command.layer_id)
    events = domain.decide_save_layer(at.state, at.version, command)
    await work.append(at, events)
    await store.save_layer(work.connection, command.layer_id, command.layer)
    await _resolve_users(work, command.layer_id)


async def remove_layer(command: RemoveLayer, work: Work) -> None:
    """Remove a shared layer and resolve every streamer that stood on it."""
    at = await work.load(LAYER, command.layer_id)
    users = await store.template_users(work.connection, command.layer_id)
    await work.append(at, domain.decide_remove_layer(at.state, command.layer_id, users))
    await store.remove_layer(work.connection, command.layer_id)
    await _resolve_users(work, command.layer_id)


def handlers() -> Handlers:
    """The registry of this service."""
    registry = Handlers("config")
    registry.command(AddStreamer)(add_streamer)
    registry.command(ChangeStreamer)(change_streamer)
    registry.command(RemoveStreamer)(remove_streamer)
    registry.command(StartStreamer)(start_streamer)
    registry.command(StopStreamer)(stop_streamer)
    registry.command(SaveLayer)(save_layer)
    registry.command(RemoveLayer)(remove_layer)
    credentials.register(registry)
    return registry


async def _append_resolved(work: Work, at: Loaded[Streamer], events: list[Event]) -> None:
    layers = await store.layers(work.connection)
    await work.append(at, [*events, *domain.resolve(STREAMER.fold(events, at.state), layers)])


async def _resolve_users(work: Work, layer_id: str) -> None:
    layers = await store.layers(work.connection)
    for streamer_id in await store.streamers(work.connection):
        at = await work.load(STREAMER, streamer_id)
        if layer_id in (domain.GLOBAL, f"platform-{at.state.platform}", f"template-{at.state.template}"):
            await work.append(at, domain.resolve(at.state, layers))


def _check_address(url: str, policy: EgressPolicy) -> None:
    try:
        parsed = check_url(url, policy, ("http", "https", "rtmp", "rtmps", "srt"))
    except RefusedAddress as error:
        raise Rejected("Address refused", status=422, detail=str(error)) from None
    if parsed.scheme == "srt" and "passphrase" in parsed.query:
        # An address is in events, which are kept for ever and shown to many.
        detail = "the address carries a passphrase: keep it in a credential, and name that in the network's account"
        raise Rejected("Address refused", status=422, detail=detail)

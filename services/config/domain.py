"""Streamers and layers: what may change and what the effective configuration of a streamer is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from contracts.aggregate import Aggregate, Rejected
from contracts.config import (
    AddStreamer,
    ChangeStreamer,
    CredentialRemoved,
    CredentialSaved,
    LayerRemoved,
    LayerSaved,
    RemoveStreamer,
    SaveCredential,
    SaveLayer,
    Secrets,
    StartStreamer,
    StopStreamer,
    StreamerAdded,
    StreamerChanged,
    StreamerRemoved,
    StreamerResolved,
    StreamerStarted,
    StreamerStopped,
)
from contracts.message import Event
from contracts.values import Effective, Layer

from services.config.layers import check_layer

GLOBAL = "global"
DEFAULT = "default"
_SECOND_LEVEL = frozenset(["co", "com", "net", "org", "or", "ne", "ac", "gov"])


@dataclass(frozen=True, slots=True)
class Streamer:
    """One watched channel."""

    id: str = ""
    url: str = ""
    name: str = ""
    platform: str = ""
    template: str | None = None
    layer: Layer = Layer()
    enabled: bool = False
    removed: bool = False
    resolved: StreamerResolved | None = None

    @property
    def exists(self) -> bool:
        """Added and not removed."""
        return bool(self.id) and not self.removed


@dataclass(frozen=True, slots=True)
class SharedLayer:
    """A layer that several streamers stand on."""

    kind: str = ""
    name: str = ""
    layer: Layer = Layer()
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Credential:
    """What may be known of a credential: ``saved`` is ``None`` before the first one and after its removal."""

    saved: CredentialSaved | None = None


def evolve_streamer(state: Streamer, event: Event) -> Streamer:
    """The streamer after an event."""
    match event:
        case StreamerAdded():
            return Streamer(
                event.streamer_id, event.url, event.name, event.platform, event.template, event.layer, event.enabled
            )
        case StreamerChanged():
            return replace(state, name=event.name, template=event.template, layer=event.layer)
        case StreamerStarted():
            return replace(state, enabled=True)
        case StreamerStopped():
            return replace(state, enabled=False)
        case StreamerRemoved():
            return replace(state, enabled=False, removed=True)
        case StreamerResolved():
            return replace(state, resolved=event)
    return state


def evolve_layer(state: SharedLayer, event: Event) -> SharedLayer:
    """The shared layer after an event."""
    match event:
        case LayerSaved():
            return SharedLayer(event.kind, event.name, event.layer)
        case LayerRemoved():
            return replace(state, layer=Layer(), removed=True)
    return state


def evolve_credential(state: Credential, event: Event) -> Credential:
    """The credential after an event."""
    match event:
        case CredentialSaved():
            return Credential(event)
        case CredentialRemoved():
            return Credential()
    return state


CREDENTIAL = Aggregate("credential", Credential(), evolve_credential)
STREAMER = Aggregate("streamer", Streamer(), evolve_streamer)
LAYER = Aggregate("layer", SharedLayer(), evolve_layer)
AGGREGATES = (STREAMER, LAYER, CREDENTIAL)


def decide_add(state: Streamer, command: AddStreamer) -> list[Event]:
    """Add a streamer; refused when the id is used or the layer is wrong."""
    if state.id:
        raise Rejected("Streamer exists", detail=f"the id {command.streamer_id} is in use")
    check_layer(command.layer)
    return [
        StreamerAdded(
            streamer_id=command.streamer_id,
            url=command.url,
            name=command.name or name_of(command.url),
            platform=platform_of(command.url),
            template=command.template,
            layer=command.layer,
            enabled=command.enabled,
        )
    ]


def decide_change(state: Streamer, version: int, command: ChangeStreamer) -> list[Event]:
    """Change what the command names; nothing when nothing would differ."""
    _must_exist(state, version, command.expected_version)
    if command.layer is not None:
        check_layer(command.layer)
    template = None if command.clear_template else (command.template or state.template)
    after = replace(state, name=command.name or state.name, template=template, layer=command.layer or state.layer)
    if after == state:
        return []
    return [StreamerChanged(streamer_id=state.id, name=after.name, template=after.template, layer=after.layer)]


def decide_remove(state: Streamer, version: int, command: RemoveStreamer) -> list[Event]:
    """Remove a streamer."""
    _must_exist(state, version, command.expected_version)
    return [StreamerRemoved(streamer_id=state.id)]


def decide_enabled(state: Streamer, version: int, command: StartStreamer | StopStreamer) -> list[Event]:
    """Start or stop watching; nothing when it is so already."""
    _must_exist(state, version, command.expected_version)
    enabled = isinstance(command, StartStreamer)
    if state.enabled == enabled:
        return []
    return [StreamerStarted(streamer_id=state.id)] if enabled else [StreamerStopped(streamer_id=state.id)]


def decide_save_layer(state: SharedLayer, version: int, command: SaveLayer) -> list[Event]:
    """Set a shared layer; nothing when nothing would differ."""
    if command.expected_version is not None and command.expected_version != version:
        raise _stale(version)
    check_layer(command.layer)
    if command.kind == "global" and command.layer_id != GLOBAL:
        raise Rejected("Wrong layer", status=422, detail="the global layer has the id 'global'")
    if command.kind != "global" and not command.layer_id.startswith(f"{command.kind}-"):
        raise Rejected(
            "Wrong layer", status=422, detail=f"the id of a {command.kind} layer begins with '{command.kind}-'"
        )
    saved = LayerSaved(layer_id=command.layer_id, kind=command.kind, name=command.name, layer=command.layer)
    same = not state.removed and (state.kind, state.name, state.layer) == (saved.kind, saved.name, saved.layer)
    return [] if same else [saved]


def decide_remove_layer(state: SharedLayer, layer_id: str, users: int) -> list[Event]:
    """Remove a shared layer that nobody names any more."""
    if not state.kind or state.removed:
        raise Rejected("Unknown layer", status=404, detail=f"there is no layer {layer_id}")
    if state.kind == "template" and users:
        raise Rejected("Template in use", detail=f"{users} streamers use it; give them another one first")
    return [LayerRemoved(layer_id=layer_id)]


def decide_save_credential(version: int, command: SaveCredential, secrets: Secrets) -> list[Event]:
    """Set a credential; the same names may hold new values, so that each save is an event."""
    if command.expected_version is not None and command.expected_version != version:
        raise _stale(version)
    for_hosts = secrets.cookies or secrets.headers or secrets.stream_key or secrets.passphrase
    if for_hosts and not command.domains:
        raise Rejected(
            "No domains",
            status=422,
            detail="what is sent to a server needs the domains it goes to: nobody else gets it",
        )
    if not (for_hosts or secrets.proxy_user or secrets.proxy_password):
        raise Rejected("Empty credential", status=422, detail="it holds nothing that could be sent to anybody")
    return [
        CredentialSaved(
            credential_id=command.credential_id,
            name=command.name,
            domains=command.domains,
            holds=_names_in(secrets),
        )
    ]


def _names_in(secrets: Secrets) -> tuple[str, ...]:
    held = {
        "stream key": secrets.stream_key,
        "passphrase": secrets.passphrase,
        "proxy login": secrets.proxy_user or secrets.proxy_password,
    }
    login = (name for name, value in held.items() if value)
    return (*(f"cookie {name}" for name in secrets.cookies), *(f"header {name}" for name in secrets.headers), *login)


def decide_remove_credential(state: Credential, credential_id: str) -> list[Event]:
    """Remove a credential that is there."""
    if state.saved is None:
        raise Rejected("Unknown credential", status=404, detail=f"there is no credential {credential_id}")
    return [CredentialRemoved(credential_id=credential_id)]


def resolve(streamer: Streamer, layers: Mapping[str, Layer]) -> list[Event]:
    """Merge the four layers and say so when the outcome differs from the last one.

    ``layers`` holds the shared layers by id. A field belongs to the highest layer that sets it; ``filters`` and ``pipelines`` are taken whole.
    """
    values: dict[str, object] = {}
    provenance = dict.fromkeys(Effective.model_fields, DEFAULT)
    stack = [GLOBAL, f"platform-{streamer.platform}", f"template-{streamer.template}" if streamer.template else ""]
    for origin, layer in [*((id, layers.get(id)) for id in stack), ("streamer", streamer.layer)]:
        for field in layer.model_fields_set if layer is not None else ():
            value = getattr(layer, field)
            if value is not None:
                values[field], provenance[field] = value, origin
    resolved = StreamerResolved(
        streamer_id=streamer.id,
        url=streamer.url,
        name=streamer.name,
        platform=streamer.platform,
        enabled=streamer.enabled and not streamer.removed,
        effective=Effective.model_validate(values),
        provenance=provenance,
    )
    return [] if resolved == streamer.resolved else [resolved]


def platform_of(url: str) -> str:
    """The platform's name: the registrable label of the host, ``direct`` for an address or a single name."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    labels = host.split(".")
    if _is_address(host) or len(labels) < 2:
        return "direct"
    if len(labels) > 2 and labels[-2] in _SECOND_LEVEL:
        labels = labels[:-1]
    label = "".join(char if char.isalnum() or char in "-_" else "-" for char in labels[-2].lower())
    return label if label.isascii() else label.encode("idna").decode()


def name_of(url: str) -> str:
    """A first name for a streamer: the last part of the path, else the host."""
    parts = urlsplit(url)
    tail = parts.path.rstrip("/").rsplit("/", 1)[-1]
    return (tail or parts.hostname or url)[:200]


def url_key(url: str) -> str:
    """What makes two addresses the same channel: scheme, ``www.``, host case and a trailing slash do not count; the query does."""
    parts = urlsplit(url)
    host = (parts.hostname or "").removeprefix("www.")
    port = f":{parts.port}" if parts.port else ""
    query = f"?{parts.query}" if parts.query else ""
    return f"{host}{port}{parts.path.rstrip('/')}{query}"


def _must_exist(state: Streamer, version: int, expected: int | None) -> None:
    if not state.exists:
        raise Rejected("Unknown streamer", status=404, detail="it was never added, or it was removed")
    if expected is not None and expected != version:
        raise _stale(version)


def _stale(version: int) -> Rejected:
    return Rejected(
        "Changed meanwhile", status=412, detail=f"the current version is {version}; load it and decide again"
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

"""What the config service owns: streamers and the layers of their configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from contracts.message import Command, Event, Signal
from contracts.values import Effective, Id, Layer, Name, Strict, Url

LayerKind = Literal["global", "platform", "template"]


Domain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.:-]{0,252}$")]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$", max_length=8192)]
CookieValue = Annotated[str, StringConstraints(pattern=r"^[\x21-\x3a\x3c-\x7e]*$", max_length=4096)]


StreamSecret = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]*$", max_length=512)]


class Secrets(Strict):
    """What a credential keeps. It travels and is stored only as sealed JSON: never in a message, a log or an argument in clear.

    ``stream_key`` goes behind the path of an RTMP address, and is the stream id of an SRT address; ``passphrase`` opens an SRT stream.
    """

    cookies: Annotated[dict[HeaderName, CookieValue], Field(max_length=100)] = Field(default_factory=dict)
    headers: Annotated[dict[HeaderName, HeaderValue], Field(max_length=50)] = Field(default_factory=dict)
    proxy_user: Annotated[str, StringConstraints(max_length=256)] = ""
    proxy_password: Annotated[str, StringConstraints(max_length=256)] = ""
    stream_key: StreamSecret = ""
    passphrase: StreamSecret = ""


class AddStreamer(Command, type="config.add_streamer.v1", key="streamer_id"):
    """Watch a channel from now on. Rejected when the address is refused or already watched."""

    streamer_id: Id
    url: Url
    name: Name | None = None
    template: Id | None = None
    layer: Layer = Layer()
    enabled: bool = True


class ChangeStreamer(Command, type="config.change_streamer.v1", key="streamer_id"):
    """Change the name, the template or the own layer of a streamer. ``None`` leaves a value as it is.

    ``expected_version`` is the aggregate version the caller saw (If-Match); another version rejects the command with 412.
    """

    streamer_id: Id
    name: Name | None = None
    template: Id | None = None
    clear_template: bool = False
    layer: Layer | None = None
    expected_version: int | None = None


class RemoveStreamer(Command, type="config.remove_streamer.v1", key="streamer_id"):
    """Stop watching a channel for good. What was recorded stays."""

    streamer_id: Id
    expected_version: int | None = None


class StartStreamer(Command, type="config.start_streamer.v1", key="streamer_id"):
    """Watch a stopped streamer again."""

    streamer_id: Id
    expected_version: int | None = None


class StopStreamer(Command, type="config.stop_streamer.v1", key="streamer_id"):
    """Stop watching; a running recording ends and keeps what was written."""

    streamer_id: Id
    expected_version: int | None = None


class SaveLayer(Command, type="config.save_layer.v1", key="layer_id"):
    """Set one shared layer. ``layer_id`` is ``global``, ``platform-<name>`` or ``template-<id>``."""

    layer_id: Id
    kind: LayerKind
    name: Name
    layer: Layer
    expected_version: int | None = None


class RemoveLayer(Command, type="config.remove_layer.v1", key="layer_id"):
    """Remove a platform layer or a template. A template still in use is refused."""

    layer_id: Id


class SaveCredential(Command, type="config.save_credential.v1", key="credential_id"):
    """Set a credential whole. ``sealed`` is the JSON of :class:`Secrets`, sealed with the system key; it goes to ``domains`` and below only."""

    credential_id: Id
    name: Name
    domains: Annotated[tuple[Domain, ...], Field(max_length=32)] = ()
    sealed: str
    expected_version: int | None = None


class RemoveCredential(Command, type="config.remove_credential.v1", key="credential_id"):
    """Forget a credential: its data key is deleted."""

    credential_id: Id


class TellCredential(Command, type="config.tell_credential.v1", key="credential_id"):
    """Ask for the secrets of a credential; the answer is the signal :class:`CredentialTold`."""

    credential_id: Id


class CredentialTold(Signal, type="config.credential_told.v1", key="credential_id"):
    """The answer to whoever records with a credential: domains, and the secrets sealed with the system key; empty when there is no such one."""

    credential_id: Id
    domains: tuple[str, ...] = ()
    sealed: str = ""


class CredentialSaved(Event, type="config.credential.saved.v1", key="credential_id"):
    """A credential was set. ``holds`` names what it keeps (``cookie SESSDATA``, ``header X-Token``, ``proxy login``), never a value."""

    credential_id: Id
    name: str
    domains: tuple[str, ...]
    holds: tuple[str, ...]


class CredentialRemoved(Event, type="config.credential.removed.v1", key="credential_id"):
    """A credential was removed and its data key deleted; what names it in ``network.account`` is not recorded until it names another."""

    credential_id: Id


class StreamerAdded(Event, type="config.streamer.added.v1", key="streamer_id"):
    """A streamer was added. First event of its stream; everything about one channel starts here."""

    streamer_id: Id
    url: Url
    name: str
    platform: str
    template: Id | None = None
    layer: Layer = Layer()
    enabled: bool = True


class StreamerChanged(Event, type="config.streamer.changed.v1", key="streamer_id"):
    """The name, template or own layer of a streamer changed; carries the new values whole."""

    streamer_id: Id
    name: str
    template: Id | None = None
    layer: Layer = Layer()


class StreamerStarted(Event, type="config.streamer.started.v1", key="streamer_id"):
    """Somebody enabled a stopped streamer."""

    streamer_id: Id


class StreamerStopped(Event, type="config.streamer.stopped.v1", key="streamer_id"):
    """Somebody disabled a streamer."""

    streamer_id: Id


class StreamerRemoved(Event, type="config.streamer.removed.v1", key="streamer_id"):
    """A streamer is no longer known. Last event of its stream."""

    streamer_id: Id


class StreamerResolved(Event, type="config.streamer.resolved.v1", key="streamer_id"):
    """The effective configuration of a streamer changed: after any change of its own or of a layer below it.

    ``provenance`` maps each field of ``effective`` to the layer its value came from: ``default``, ``global``, ``platform-x``, ``template-y``
    or ``streamer``. The scheduler lives on this event alone.
    """

    streamer_id: Id
    url: Url
    name: str
    platform: str
    enabled: bool
    effective: Effective
    provenance: dict[str, str]


class LayerSaved(Event, type="config.layer.saved.v1", key="layer_id"):
    """A shared layer was set; carries it whole."""

    layer_id: Id
    kind: LayerKind
    name: str
    layer: Layer


class LayerRemoved(Event, type="config.layer.removed.v1", key="layer_id"):
    """A platform layer or template was removed."""

    layer_id: Id

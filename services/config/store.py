"""Inline views of the config service: which addresses are taken, and the shared layers as they are now."""

from __future__ import annotations

from dataclasses import dataclass, field

from chassis.database import Connection
from chassis.secrets import SystemKey
from chassis.sql import beside
from contracts.config import Secrets
from contracts.values import Layer

QUERIES = beside(__file__)


@dataclass(frozen=True, slots=True)
class Held:
    """A credential with its secrets open."""

    domains: tuple[str, ...]
    secrets: Secrets = field(repr=False)


async def claim_url(connection: Connection, streamer_id: str, key: str, template: str | None) -> bool:
    """Take an address for a streamer; False when another one has it."""
    return await connection.fetchval(QUERIES["claim_url"], streamer_id, key, template) is not None


async def release_url(connection: Connection, streamer_id: str) -> None:
    """Give an address back."""
    await connection.execute(QUERIES["release_url"], streamer_id)


async def set_template(connection: Connection, streamer_id: str, template: str | None) -> None:
    """Remember which template a streamer uses."""
    await connection.execute(QUERIES["set_template"], streamer_id, template)


async def template_users(connection: Connection, layer_id: str) -> int:
    """How many streamers use a template layer."""
    return int(await connection.fetchval(QUERIES["template_users"], layer_id.removeprefix("template-")))


async def streamers(connection: Connection) -> list[str]:
    """Ids of all streamers, oldest first."""
    return [row["streamer_id"] for row in await connection.fetch(QUERIES["streamers"])]


async def save_layer(connection: Connection, layer_id: str, layer: Layer) -> None:
    """Keep the current content of a shared layer."""
    await connection.execute(QUERIES["save_layer"], layer_id, layer.model_dump_json(exclude_none=True))


async def remove_layer(connection: Connection, layer_id: str) -> None:
    """Forget a shared layer."""
    await connection.execute(QUERIES["remove_layer"], layer_id)


async def layer_exists(connection: Connection, layer_id: str) -> bool:
    """Whether a shared layer is set."""
    return bool(await connection.fetchval(QUERIES["layer_exists"], layer_id))


async def layers(connection: Connection) -> dict[str, Layer]:
    """All shared layers by id."""
    rows = await connection.fetch(QUERIES["layers"])
    return {row["layer_id"]: Layer.model_validate_json(row["layer"]) for row in rows}


async def save_credential(connection: Connection, key: SystemKey, credential_id: str, held: Held) -> None:
    """Set a credential and seal its secrets with a data key that is new each time."""
    wrapped = key.wrap_new_data_key()
    sealed = key.with_data_key(wrapped).seal(held.secrets.model_dump_json())
    await connection.execute(QUERIES["save_credential"], credential_id, list(held.domains), sealed)
    await connection.execute(QUERIES["save_data_key"], credential_id, wrapped)


async def remove_credential(connection: Connection, credential_id: str) -> None:
    """Delete a credential and its data key."""
    await connection.execute(QUERIES["remove_credential"], credential_id)


async def credential(connection: Connection, key: SystemKey, credential_id: str) -> Held | None:
    """A credential with its secrets open, or ``None`` when there is none; raises chassis.secrets.SecretUnreadable."""
    row = await connection.fetchrow(QUERIES["credential"], credential_id)
    if row is None:
        return None
    opened = key.with_data_key(row["wrapped"]).open(row["sealed"])
    return Held(tuple(row["domains"]), Secrets.model_validate_json(opened))

"""Credentials: kept under a data key each, told to those who record with them, forgotten with their key."""

from __future__ import annotations

from chassis.bus import Bus
from chassis.handlers import Handlers
from chassis.secrets import SecretUnreadable, SystemKey
from chassis.work import Work
from contracts.aggregate import Rejected
from contracts.config import CredentialTold, RemoveCredential, SaveCredential, Secrets, TellCredential
from pydantic import ValidationError

from services.config import domain, store
from services.config.domain import CREDENTIAL


class Vault:
    """The system key, where this installation has one, and the bus that answers go to."""

    def __init__(self, key: str, bus: Bus) -> None:
        self._key = SystemKey(key) if key else None
        self._bus = bus

    @property
    def key(self) -> SystemKey:
        """Raises Rejected where there is none."""
        if self._key is None:
            raise Rejected(
                "No system key", status=503, detail="credentials need CONFIG_SECRET_KEY: see `aircheck new-key`"
            )
        return self._key

    async def tell(self, credential_id: str, held: store.Held | None) -> None:
        """Answer everybody who asked; ``None`` also overwrites an answer that was given before."""
        sealed = self.key.seal(held.secrets.model_dump_json()) if held else ""
        domains = held.domains if held else ()
        await self._bus.signal(CredentialTold(credential_id=credential_id, domains=domains, sealed=sealed))


async def save_credential(command: SaveCredential, work: Work) -> None:
    """Check a credential and keep its secrets under a data key of its own."""
    vault = work.resource(Vault)
    secrets = _opened(command, vault.key)
    at = await work.load(CREDENTIAL, command.credential_id)
    await work.append(at, domain.decide_save_credential(at.version, command, secrets))
    await store.save_credential(work.connection, vault.key, command.credential_id, store.Held(command.domains, secrets))


async def remove_credential(command: RemoveCredential, work: Work) -> None:
    """Forget a credential."""
    at = await work.load(CREDENTIAL, command.credential_id)
    await work.append(at, domain.decide_remove_credential(at.state, command.credential_id))
    await store.remove_credential(work.connection, command.credential_id)
    await work.resource(Vault).tell(command.credential_id, None)


async def tell_credential(command: TellCredential, work: Work) -> None:
    """Answer whoever records with a credential."""
    vault = work.resource(Vault)
    await vault.tell(
        command.credential_id, await store.credential(await work.begin(), vault.key, command.credential_id)
    )


def register(registry: Handlers) -> None:
    """Add the handlers of this module."""
    registry.command(SaveCredential)(save_credential)
    registry.command(RemoveCredential)(remove_credential)
    registry.direct(TellCredential)(tell_credential)


def _opened(command: SaveCredential, key: SystemKey) -> Secrets:
    try:
        return Secrets.model_validate_json(key.open(command.sealed))
    except (SecretUnreadable, ValidationError):
        raise Rejected("Unreadable", status=422, detail="the secrets are not sealed with the system key") from None

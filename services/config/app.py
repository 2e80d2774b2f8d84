"""The composition root of the config service."""

from __future__ import annotations

from pathlib import Path

from chassis.egress import EgressPolicy
from chassis.service import Service
from chassis.settings import load

from services.config.credentials import Vault
from services.config.handlers import handlers
from services.config.settings import ConfigSettings


def build(settings: ConfigSettings | None = None) -> Service:
    """Wire the service; reads the environment when no settings are given."""
    settings = settings or load(ConfigSettings)
    service = Service(settings, handlers(), migrations=Path(__file__).with_name("migrations"))
    service.resources.provide(EgressPolicy(allow_private=settings.allow_private_sources))
    key = settings.secret_key.get_secret_value()

    async def prepare() -> None:
        service.resources.provide(Vault(key, service.bus))

    service.on_start(prepare)
    return service

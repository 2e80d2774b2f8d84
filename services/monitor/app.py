"""The composition root of the monitor."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import structlog
from chassis.accounts import Accounts
from chassis.egress import EgressPolicy
from chassis.service import Service
from chassis.settings import load

from services.monitor.adapters.registry import AdapterOptions, load_adapters
from services.monitor.handlers import handlers
from services.monitor.probing import Prober
from services.monitor.settings import MonitorSettings

ACCOUNT_FRESH_S: Final = 30.0
"""Checks come in crowds; a changed or removed credential is noticed after this long."""

log = structlog.get_logger(__name__)


def build(settings: MonitorSettings | None = None) -> Service:
    """Wire the service; reads the environment when no settings are given."""
    chosen = settings or load(MonitorSettings)
    service = Service(
        chosen, handlers(), migrations=Path(__file__).with_name("migrations"), direct_limit=chosen.concurrent_probes
    )
    policy = EgressPolicy(allow_private=chosen.allow_private_sources)
    registry = load_adapters(
        AdapterOptions(
            policy=policy,
            timeout_seconds=chosen.probe_timeout_s,
            platforms=chosen.platforms,
            ffmpeg=chosen.ffmpeg,
        )
    )
    for failure in registry.failures:
        log.warning("adapter.not_loaded", reason=failure)

    async def prepare() -> None:
        key = chosen.secret_key.get_secret_value()
        accounts = Accounts(service.bus, key, setting="MONITOR_SECRET_KEY", fresh_s=ACCOUNT_FRESH_S)
        prober = Prober(registry, policy, service.bus, accounts.login, timeout_s=chosen.probe_timeout_s)
        service.resources.provide(prober)
        service.add(prober)

    service.on_start(prepare)
    return service

"""The composition root of the monitor."""

from __future__ import annotations

from pathlib import Path

import structlog
from chassis.egress import EgressPolicy
from chassis.service import Service
from chassis.settings import load

from services.monitor.adapters.registry import AdapterOptions, load_adapters
from services.monitor.handlers import handlers
from services.monitor.probing import Prober
from services.monitor.settings import MonitorSettings

log = structlog.get_logger(__name__)


def build(settings: MonitorSettings | None = None) -> Service:
    """Wire the service; reads the environment when no settings are given."""
    chosen = settings or load(MonitorSettings)
    service = Service(
        chosen, handlers(), migrations=Path(__file__).with_name("migrations"), direct_limit=chosen.concurrent_probes
    )
    policy = EgressPolicy(allow_private=chosen.allow_private_sources)
    registry = load_adapters(
        AdapterOptions(policy=policy, timeout_seconds=chosen.probe_timeout_s, platforms=chosen.platforms)
    )
    for failure in registry.failures:
        log.warning("adapter.not_loaded", reason=failure)

    async def prepare() -> None:
        prober = Prober(registry, policy, service.bus, timeout_s=chosen.probe_timeout_s)
        service.resources.provide(prober)
        service.add(prober)

    service.on_start(prepare)
    return service

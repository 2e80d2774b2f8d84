"""The composition root of the notifier."""

from __future__ import annotations

from pathlib import Path

import aiohttp
from chassis.egress import EgressPolicy, open_session
from chassis.leases import LeaseRunner
from chassis.secrets import SystemKey
from chassis.service import Service
from chassis.settings import load

from services.notifier.adapters.apprise import AppriseChannel
from services.notifier.adapters.channel import Channels
from services.notifier.adapters.webhook import WebhookChannel
from services.notifier.domain import KIND
from services.notifier.handlers import handlers
from services.notifier.runner import DeliveryRunner
from services.notifier.settings import NotifierSettings


def build(settings: NotifierSettings | None = None) -> Service:
    """Wire the service; reads the environment when no settings are given. Raises ValueError for a system key that is none."""
    chosen = settings or load(NotifierSettings)
    service = Service(chosen, handlers(), migrations=Path(__file__).with_name("migrations"))
    policy = EgressPolicy(allow_private=chosen.allow_private_sources)
    key = SystemKey(chosen.secret_key.get_secret_value())
    service.resources.provide(key)

    async def prepare() -> None:
        session = open_session(policy)
        webhook = WebhookChannel(session, policy, timeout_seconds=chosen.timeout_s)
        apprise = AppriseChannel(policy, timeout_seconds=chosen.timeout_s)
        channels = Channels(webhook, apprise)
        service.resources.provide(channels)
        delivery = DeliveryRunner(service, channels, key, chosen)
        runner = service.add_runner(KIND, delivery.run, concurrency=chosen.concurrency, rests=True)
        service.add(_Closing(runner, session, apprise))

    service.on_start(prepare)
    return service


class _Closing:
    """Closes what the deliveries use. Parts stop before the runners, so it lets the deliveries in hand end first."""

    def __init__(self, runner: LeaseRunner, session: aiohttp.ClientSession, apprise: AppriseChannel) -> None:
        self._runner, self._session, self._apprise = runner, session, apprise

    async def start(self) -> None:
        """Everything is open from the beginning."""

    async def stop(self) -> None:
        """Wait for the deliveries in hand, then close."""
        await self._runner.stop()
        await self._session.close()
        self._apprise.close()

"""The composition root of the chat service."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from chassis.accounts import Accounts, Login
from chassis.egress import EgressPolicy
from chassis.service import Service
from chassis.settings import load
from chassis.storage import Storage, StorageOptions
from contracts import subjects
from contracts.danmu import ChatPulse

from services.danmu import store
from services.danmu.adapters.archive import Archive
from services.danmu.adapters.rooms import Rooms
from services.danmu.follower import Follower
from services.danmu.handlers import KIND, handlers, now_ms
from services.danmu.ledger import Ledger
from services.danmu.live import Audience
from services.danmu.post import Post
from services.danmu.runner import ChatRunner
from services.danmu.settings import DanmuSettings


def build(settings: DanmuSettings | None = None) -> Service:
    """Wire the service; reads the environment when no settings are given."""
    chosen = settings or load(DanmuSettings)
    service = Service(chosen, handlers(), migrations=Path(__file__).with_name("migrations"), spare_collector=True)

    async def account_of(account: str) -> Login:
        key = chosen.secret_key.get_secret_value()
        return await Accounts(service.bus, key, setting="DANMU_SECRET_KEY").login(account)

    rooms = Rooms(EgressPolicy(allow_private=chosen.allow_private_sources), chosen.sources, account_of)
    storage = Storage.from_uri(chosen.artifacts, StorageOptions.from_environment(os.environ))
    archive = Archive(storage, chosen.journals)

    async def revisions(session_ids: Sequence[str]) -> dict[str, int]:
        async with service.pool.acquire() as connection:
            return await store.revisions(connection, session_ids)

    async def publish(session_id: str, lines: bytes) -> None:
        if service.bus.client.is_connected:
            await service.bus.client.publish(subjects.chat_of(session_id), lines)

    async def pulse(statistics: ChatPulse) -> None:
        if service.bus.client.is_connected:
            await service.bus.signal(statistics)

    async def remove_old_journals() -> None:
        """Sessions that ended on another machine after this one had crashed."""
        here = await archive.journals()
        async with service.pool.acquire() as connection:
            ended = await store.ended(connection, here)
        for session_id in ended:
            await archive.remove_journal(session_id)

    follower = Follower(revisions, chosen.poll_s)
    runner = ChatRunner(
        chosen, Ledger(service), rooms.open, archive, follower, Audience(Post(publish).put, pulse), now_ms
    )

    async def prepare() -> None:
        await remove_old_journals()
        service.add_runner(KIND, runner.run, concurrency=chosen.concurrent_chats)

    service.on_start(prepare)
    service.on_commit(follower.wake)
    service.add(follower)
    return service

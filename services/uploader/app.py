"""The composition root of the uploader."""

from __future__ import annotations

import os
from pathlib import Path

import aiohttp
from chassis.egress import EgressPolicy, open_session
from chassis.service import Service
from chassis.settings import load
from chassis.storage import StorageOptions

from services.uploader.adapters.object_store import ObjectStores, object_stores
from services.uploader.domain import KIND
from services.uploader.handlers import handlers
from services.uploader.runner import UploadRunner
from services.uploader.settings import UploaderSettings


def build(settings: UploaderSettings | None = None) -> Service:
    """Wire the service; reads the environment when no settings are given."""
    chosen = settings or load(UploaderSettings)
    service = Service(chosen, handlers(), migrations=Path(__file__).with_name("migrations"))
    options = StorageOptions.from_environment(os.environ)

    async def prepare() -> None:
        # The object store's address is the operator's, not a user's, so it may be private.
        session = open_session(
            EgressPolicy(allow_private=True), timeout=aiohttp.ClientTimeout(total=None, connect=10, sock_read=60)
        )
        service.add(_Closing(session))
        stores = object_stores(roots=chosen.roots, options=options, session=session)
        service.resources.provide(stores, ObjectStores)
        runner = UploadRunner(service, stores, chosen, options)
        service.add_runner(KIND, runner.run, concurrency=chosen.concurrency, rests=True)

    service.on_start(prepare)
    return service


class _Closing:
    """Closes the HTTP session with the service."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def start(self) -> None:
        """The session is open from the beginning."""

    async def stop(self) -> None:
        """Close the session."""
        await self._session.close()

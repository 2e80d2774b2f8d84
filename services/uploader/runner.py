"""Runs one upload under a lease: resumes where the last owner stopped, verifies, says what became of it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import structlog
from chassis import eventlog, leases
from chassis.leases import MAX_DEATHS, Again, Done, Lease, Outcome
from chassis.service import Service
from chassis.storage import Storage, StorageOptions
from contracts.envelope import Metadata
from contracts.uploader import UploadProgress, UploadRequested
from contracts.values import Artifact

from services.uploader import domain, store
from services.uploader.adapters.object_store import (
    ArtifactSource,
    ObjectStores,
    UploadCorrupt,
    UploadError,
    UploadRefused,
)
from services.uploader.domain import UPLOAD
from services.uploader.settings import UploaderSettings

RETRY_CAP_S = 300.0
log = structlog.get_logger(__name__)


class Cancelled(Exception):
    """Somebody gave the upload up while it ran."""


class UploadRunner:
    """Executes uploads of this replica."""

    def __init__(
        self, service: Service, stores: ObjectStores, settings: UploaderSettings, options: StorageOptions
    ) -> None:
        self._service, self._stores, self._settings, self._options = service, stores, settings, options

    async def run(self, lease: Lease) -> Outcome:
        """One turn of one upload; interrupted ones come again."""
        async with self._service.pool.acquire() as connection:
            metadata = await eventlog.story_of(connection, UPLOAD.stream(lease.id))
            resume, interruptions = await store.progress(connection, lease.id)
        if lease.deaths >= MAX_DEATHS:
            error = f"given up: its process ended {lease.deaths} times in a row during it, and it got no further"
            return await self._give_up(lease, metadata, error, interruptions + lease.deaths)
        request = await self._begin(lease, metadata, resume)
        if request is None:
            return await self._clean_up(lease, resume)
        started = time.monotonic()
        try:
            artifact = await self._upload(lease, request, resume)
        except Cancelled:
            _, left = await self._progress(lease)
            return await self._clean_up(lease, left)
        except UploadError as error:
            return await self._after_failure(lease, metadata, error, interruptions + 1)
        if artifact is None:
            return Again()
        async with self._service.unit(metadata, fence=lease.fence) as work:
            at = await work.load(UPLOAD, lease.id)
            await work.append(at, domain.decide_completed(at.state, artifact, time.monotonic() - started))
            await store.remove(work.connection, lease.id)
        return Done()

    async def _begin(
        self, lease: Lease, metadata: Metadata | None, resume: dict[str, Any] | None
    ) -> UploadRequested | None:
        async with self._service.unit(metadata, fence=lease.fence) as work:
            at = await work.load(UPLOAD, lease.id)
            resumed_at = int((resume or {}).get("sent", 0))
            events = domain.decide_started(
                at.state, worker=self._service.settings.worker, epoch=lease.epoch, resumed_at=resumed_at
            )
            await work.append(at, events)
        return at.state.request if events else None

    async def _upload(self, lease: Lease, request: UploadRequested, resume: dict[str, Any] | None) -> Artifact | None:
        copying = asyncio.create_task(self._copy(lease, request, resume))
        leaving = asyncio.create_task(lease.handing_over.wait())
        try:
            await asyncio.wait((copying, leaving), return_when=asyncio.FIRST_COMPLETED)
            return copying.result() if copying.done() else None
        finally:
            for task in (copying, leaving):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    async def _copy(self, lease: Lease, request: UploadRequested, resume: dict[str, Any] | None) -> Artifact:
        resumed_at = int((resume or {}).get("sent", 0))

        async def on_progress(state: dict[str, Any]) -> None:
            await self._keep(lease, request, state, further=int(state["sent"]) > resumed_at)

        source = _source(request.source, self._options)
        done = await self._stores.upload(source, request.destination, resume=resume, on_progress=on_progress)
        return Artifact(uri=done.uri, media_type=request.source.media_type, size=done.size, sha256=done.sha256)

    async def _keep(self, lease: Lease, request: UploadRequested, state: dict[str, Any], *, further: bool) -> None:
        async with self._service.pool.acquire() as connection:
            mine = await store.save(connection, lease.id, lease.epoch, state)
            if further:
                await leases.progressed(connection, lease)
            current = await eventlog.load(connection, UPLOAD, lease.id)
        if not mine or current.state.cancelled:
            raise Cancelled
        await self._service.bus.signal(
            UploadProgress(
                upload_id=lease.id, session_id=request.session_id, sent=int(state["sent"]), size=int(state["size"])
            )
        )

    async def _after_failure(
        self, lease: Lease, metadata: Metadata | None, error: UploadError, attempts: int
    ) -> Outcome:
        log.warning("upload.interrupted", upload=lease.id, attempts=attempts, error=str(error), fatal=error.fatal)
        if error.fatal or attempts >= self._settings.max_attempts:
            return await self._give_up(lease, metadata, str(error), attempts)
        async with self._service.unit(metadata, fence=lease.fence) as work:
            await work.load(UPLOAD, lease.id)
            await store.interrupted(work.connection, lease.id, forget=isinstance(error, UploadCorrupt))
        return Again(min(self._settings.retry_base_upload_s * 2.0 ** (attempts - 1), RETRY_CAP_S))

    async def _give_up(self, lease: Lease, metadata: Metadata | None, error: str, attempts: int) -> Outcome:
        async with self._service.unit(metadata, fence=lease.fence) as work:
            at = await work.load(UPLOAD, lease.id)
            await work.append(at, domain.decide_failed(at.state, error, attempts))
            await store.remove(work.connection, lease.id)
        return Done()

    async def _clean_up(self, lease: Lease, left: dict[str, Any] | None) -> Outcome:
        async with self._service.pool.acquire() as connection:
            request = (await eventlog.load(connection, UPLOAD, lease.id)).state.request
            if left and request is not None:
                with suppress(UploadError):
                    await self._stores.abandon(request.destination, left)
            await store.remove(connection, lease.id)
        return Done()

    async def _progress(self, lease: Lease) -> tuple[int, dict[str, Any] | None]:
        async with self._service.pool.acquire() as connection:
            state, interruptions = await store.progress(connection, lease.id)
        return interruptions, state


def _source(artifact: Artifact, options: StorageOptions) -> ArtifactSource:
    base = artifact.uri.rpartition("/")[0]
    try:
        storage = Storage.from_uri(base, options)
        return ArtifactSource(storage, storage.key(artifact.uri), artifact.sha256)
    except ValueError as error:
        raise UploadRefused(f"the source address cannot be read: {error}") from error

"""The composition root of the downloader."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiohttp
from chassis.accounts import Accounts, Login
from chassis.egress import EgressPolicy, open_session
from chassis.leases import Lease
from chassis.programs import locate_ffmpeg
from chassis.s3_multipart import S3Multipart
from chassis.service import Service
from chassis.settings import load
from chassis.storage import StorageOptions

from services.downloader import store
from services.downloader.adapters.capture import Sources
from services.downloader.adapters.engines import EngineOptions, Engines
from services.downloader.adapters.files import Folder
from services.downloader.adapters.sources import LiveSources
from services.downloader.breaker import Breakers, Policy
from services.downloader.facts import Facts
from services.downloader.guard import Guard
from services.downloader.handlers import KIND, handlers
from services.downloader.handovers import Handovers
from services.downloader.journal import Journal
from services.downloader.limits import Slots
from services.downloader.replica import Replica, name_of
from services.downloader.requests import Requests
from services.downloader.runner import Outside, Runner
from services.downloader.salvage import Salvage, Sweeper
from services.downloader.settings import DownloaderSettings
from services.downloader.space import DISK, Level, Seen, Threshold, Thresholds, decide_disk
from services.downloader.standby import Needs, Standbys
from services.downloader.streams import Notes, Streams


def build(settings: DownloaderSettings | None = None) -> Service:
    """Wire the service; reads the environment when no settings are given."""
    chosen = settings or load(DownloaderSettings)
    service = Service(chosen, handlers(), migrations=Path(__file__).with_name("migrations"))
    options = StorageOptions.from_environment(os.environ)
    folder = Folder.at(chosen.storage_uri, chosen.data_dir, options, hash_max_bytes=chosen.hash_max_bytes)
    if chosen.stream_to_storage and not folder.remote:
        raise ValueError("DOWNLOADER_STREAM_TO_STORAGE needs a DOWNLOADER_STORAGE_URI with s3://")
    thresholds = Thresholds(
        warn=Threshold(chosen.warn_free_mb, chosen.warn_free_percent),
        stop=Threshold(chosen.min_free_mb, chosen.min_free_percent),
    )
    salvage = Salvage(folder, min_bytes=chosen.min_segment_bytes)

    async def account_of(account: str) -> Login:
        key = chosen.secret_key.get_secret_value()
        return await Accounts(service.bus, key, setting="DOWNLOADER_SECRET_KEY").login(account)

    engines = Engines(
        EgressPolicy(allow_private=chosen.allow_private_sources),
        EngineOptions(
            stall_s=chosen.stall_s,
            connect_timeout_s=chosen.connect_timeout_s,
            segment_concurrency=chosen.segment_concurrency,
            segment_attempts=chosen.segment_attempts,
            ffmpeg=locate_ffmpeg(chosen.ffmpeg, setting="DOWNLOADER_FFMPEG"),
        ),
        account_of,
    )

    def journal_of(recording_id: str, lease: Lease | None = None) -> Journal:
        return Journal(recording_id, service.work, service.committed, lease.fence if lease else None)

    def sources_of(facts: Facts) -> Sources:
        return LiveSources(
            service.bus,
            facts.request,
            freshness_s=chosen.source_freshness_s,
            resolve_timeout_s=chosen.resolve_timeout_s,
        )

    async def tell_of_disk(seen: Seen, level: Level) -> None:
        worker = name_of(chosen.worker)
        async with service.unit() as work:
            at = await work.load(DISK, worker)
            await work.append(at, decide_disk(at.state, worker, seen, level))

    async def prepare() -> None:
        view = store.View(service.pool)
        handovers = Handovers(service.pool, chosen.worker)
        requests = Requests(view.asked, every_s=chosen.poll_s)
        guard = Guard(folder.place(chosen.storage_marker).look, thresholds, tell_of_disk, every_s=chosen.disk_every_s)
        breakers = Breakers(Policy(chosen.breaker_failures, chosen.breaker_cool_down_s))
        outside = Outside(
            settings=chosen,
            folder=folder,
            salvage=salvage,
            requests=requests,
            view=view,
            streams=await _streams(chosen, options, folder, service) if chosen.stream_to_storage else None,
            handovers=handovers,
            engines=engines,
            guard=guard,
            breakers=breakers,
            journal_of=journal_of,
            sources_of=sources_of,
            signal=service.bus.signal,
        )
        runs = Runner(outside)
        runner = service.add_runner(KIND, runs.run, concurrency=chosen.slots, extra_high=chosen.extra_high_slots)
        given = Slots(chosen.slots, chosen.extra_high_slots)
        replica = Replica(chosen.worker, runner, given, view.slots, guard, breakers, service.bus.signal)
        guard.runner = runner
        runs.standbys = Standbys(
            Needs(
                handovers=handovers,
                leases=runner,
                engines=engines,
                journal_of=journal_of,
                sources_of=sources_of,
                accepting=lambda: not service.stopping,
                spill=None if chosen.stream_to_storage else chosen.data_dir / "standby",
                max_bytes=chosen.standby_max_mb * 1_000_000,
                patience=runs.patience(),
            )
        )
        service.on_commit(requests.wake)
        service.on_commit(replica.wake)
        service.add(guard)
        service.add(replica)
        # Behind the two who say how much room there is: it is told to others at the start.
        service.add(runs.standbys)
        service.add(requests)
        service.add(Sweeper(salvage, folder, journal_of, every_s=chosen.salvage_every_s))
        service.health.checks["disk"] = guard.check

    service.on_start(prepare)
    return service


async def _streams(settings: DownloaderSettings, options: StorageOptions, folder: Folder, service: Service) -> Streams:
    """Files that go into the bucket while they are written. The bucket's address is the operator's, so that it may be a private one."""
    session = open_session(
        EgressPolicy(allow_private=True), timeout=aiohttp.ClientTimeout(total=None, connect=10, sock_read=60)
    )
    service.add(_Closing(session))
    parsed = urlsplit(settings.storage_uri)
    prefix = unquote(parsed.path).strip("/")
    return Streams(
        bucket=S3Multipart(parsed.netloc, options, session),
        storage=folder.storage,
        prefix=f"{prefix}/" if prefix else "",
        notes=Notes(service.pool),
        part_size=settings.stream_part_mb << 20,
        max_bytes=settings.stream_buffer_mb << 20,
        min_bytes=settings.min_segment_bytes,
        spool=settings.data_dir / "mending",
    )


class _Closing:
    """Closes the HTTP session with the service."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def start(self) -> None:
        """The session is open from the beginning."""

    async def stop(self) -> None:
        """Close the session."""
        await self._session.close()

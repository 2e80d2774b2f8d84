"""The composition root of the pipeline."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from pathlib import Path

from chassis import leases
from chassis.service import Service
from chassis.settings import load
from chassis.storage import Storage, StorageOptions
from contracts.values import Processor

from services.pipeline.adapters.copy import Copy
from services.pipeline.adapters.execute import Execute
from services.pipeline.adapters.ffmpeg import Ffmpeg, locate
from services.pipeline.adapters.files import Files
from services.pipeline.adapters.processor import Processors
from services.pipeline.adapters.remux import Remux
from services.pipeline.adapters.shelves import Shelves
from services.pipeline.adapters.thumbnail import Thumbnail
from services.pipeline.advancing import JOB
from services.pipeline.domain.reclaim import Policy
from services.pipeline.handlers import RECLAIM, handlers
from services.pipeline.reclaiming import REGULAR, Reclaimer, Rules
from services.pipeline.runner import JobRunner, work_folder
from services.pipeline.settings import PipelineSettings


def build(settings: PipelineSettings | None = None) -> Service:
    """Wire the service; reads the environment when no settings are given. Raises RuntimeError when there is no ffmpeg."""
    chosen = settings or load(PipelineSettings)
    service = Service(chosen, handlers(), migrations=Path(__file__).with_name("migrations"))
    options = StorageOptions.from_environment(os.environ)
    ffmpeg = Ffmpeg(locate(chosen.ffmpeg), niceness=chosen.niceness)
    archive = Storage.from_uri(chosen.copy_root, options) if chosen.copy_root else None
    processors = Processors(
        {
            Processor.REMUX: Remux(ffmpeg),
            Processor.THUMBNAIL: Thumbnail(ffmpeg),
            Processor.COPY: Copy(archive),
            Processor.EXECUTE: Execute(chosen.allow_execute, niceness=chosen.niceness),
        }
    )
    roots = (chosen.data_dir.resolve().as_uri(), *chosen.input_roots)
    files = Files(options, storage_uri=chosen.storage_uri, roots=roots)
    service.resources.provide(processors)
    service.resources.provide(files)
    shelves = Shelves(chosen.reclaim_roots, options)
    rules = Rules(policy_of(chosen), chosen.reclaim_every_s)
    runner = JobRunner(service, processors, files, chosen)

    async def prepare() -> None:
        # Another replica on this machine may be at work in the same folder: only what no job can own any more goes.
        await asyncio.to_thread(_remove_leftovers, work_folder(chosen), older_than_s=2 * chosen.job_timeout_s)
        service.add_runner(JOB, runner.run, concurrency=chosen.concurrency)
        async with service.pool.acquire() as connection:
            await leases.offer(connection, RECLAIM, f"{RECLAIM}:{REGULAR}")
        # One at a time, so that a request and the policy do not remove the same things.
        service.add_runner(RECLAIM, Reclaimer(service, shelves, rules).run, concurrency=1)

    service.on_start(prepare)
    service.on_commit(runner.wake)
    return service


def policy_of(settings: PipelineSettings) -> Policy:
    """Which sessions go, as the settings say."""
    return Policy(
        keep_days=settings.reclaim_keep_days,
        max_total_gb=settings.reclaim_max_total_gb,
        min_free_mb=settings.reclaim_min_free_mb,
        only_uploaded=settings.reclaim_only_uploaded,
        protect_s=settings.reclaim_protect_hours * 3600,
    )


def _remove_leftovers(folder: Path, *, older_than_s: float) -> None:
    limit = time.time() - older_than_s
    for left in folder.glob("*") if folder.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):
            if left.stat().st_mtime < limit:
                shutil.rmtree(left, ignore_errors=True)

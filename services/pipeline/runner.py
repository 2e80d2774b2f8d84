"""Runs one job under a lease: begins it, runs its processor, and ends it in the append that also says what comes next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from chassis import eventlog
from chassis.database import UNREACHABLE, Pool
from chassis.errors import Conflict, LeaseLost
from chassis.eventlog import Fence
from chassis.leases import Again, Done, Lease, Outcome
from chassis.service import Service
from chassis.waiting import wait_for_event
from chassis.work import Work
from contracts.envelope import Metadata
from contracts.message import Event
from contracts.pipeline import JobProgress
from contracts.values import Artifact
from prometheus_client import Histogram
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random

from services.pipeline import store
from services.pipeline.adapters.failure import ProcessingError, ProcessingInterrupted, ProcessingRefused
from services.pipeline.adapters.files import Files
from services.pipeline.adapters.processor import Processors, Result, Task
from services.pipeline.adapters.workspace import Workspace
from services.pipeline.advancing import advance_run
from services.pipeline.domain import RUN, SESSION, Run
from services.pipeline.domain import run as run_domain
from services.pipeline.domain.destinations import context_of
from services.pipeline.settings import PipelineSettings

RETRY_CAP_S = 300.0
PROGRESS_EVERY_S = 0.5
CONFLICT_ATTEMPTS = 8
JOB_SECONDS = Histogram(
    "aircheck_job_seconds", "Time one turn of a job took, by its processor and how it ended.", ["processor", "outcome"],
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600),
)  # fmt: skip
log = structlog.get_logger(__name__)

Decide = Callable[[Run], list[Event]]


class Withdrawn(Exception):
    """The job is not to be done any more: somebody cancelled its run or another job of it failed."""


class HandingOver(Exception):
    """This replica stops; another one begins the job again."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of one job."""

    job_id: str
    run_id: str
    task: Task
    attempt: store.Attempt
    metadata: Metadata | None


class JobRunner:
    """Executes the jobs of this replica."""

    def __init__(self, service: Service, processors: Processors, files: Files, settings: PipelineSettings) -> None:
        self._service, self._processors, self._files, self._settings = service, processors, files, settings
        self._running: set[asyncio.Event] = set()

    def wake(self) -> None:
        """Something was committed here: perhaps a running job was cancelled."""
        for event in self._running:
            event.set()

    async def run(self, lease: Lease) -> Outcome:
        """One turn of one job; interrupted ones come again."""
        turn = await self._begin(lease)
        if turn is None:
            return Done()
        if turn.attempt.number > self._settings.max_attempts:
            reason = turn.attempt.error or "the replicas that ran it died"
            return await self._fail(lease, turn, f"given up after {turn.attempt.number - 1} attempts: {reason}")
        started = time.monotonic()
        try:
            result = await self._measured(lease, turn)
        except Withdrawn:
            return Done()
        except HandingOver:
            async with self._service.unit(turn.metadata) as work:
                await store.undo_attempt(await work.begin(), turn.job_id)
            return Again()
        except ProcessingError as error:
            return await self._after_failure(lease, turn, error)
        seconds = time.monotonic() - started
        await self._end(
            lease,
            turn,
            lambda run: run_domain.decide_complete(run, turn.job_id, result.outputs, seconds, result.removed),
        )
        return Done()

    async def _measured(self, lease: Lease, turn: Turn) -> Result:
        started, outcome = time.monotonic(), "completed"
        try:
            return await self._process(lease, turn)
        except BaseException as error:
            outcome = type(error).__name__.lower()
            raise
        finally:
            JOB_SECONDS.labels(turn.task.step.processor.value, outcome).observe(time.monotonic() - started)

    async def _begin(self, lease: Lease) -> Turn | None:
        async with self._service.pool.acquire() as connection:
            run_id = await store.run_of(connection, lease.id)
            metadata = await eventlog.story_of(connection, RUN.stream(run_id)) if run_id else None
        if run_id is None:
            return None
        turn: Turn | None = None

        async def begin(work: Work) -> None:
            nonlocal turn
            turn = None
            at = await work.load(RUN, run_id)
            events = run_domain.decide_start(
                at.state, lease.id, worker=self._service.settings.worker, epoch=lease.epoch
            )
            job, plan = at.state.job(lease.id), at.state.plan
            if not events or job is None or plan is None:
                return
            session = await work.load(SESSION, plan.session_id)
            await work.append(at, events)
            attempt = await store.begin_attempt(work.connection, lease.id)
            task = Task(job.step, job.inputs, context_of(plan.session_id, session.state))
            turn = Turn(lease.id, run_id, task, attempt, metadata) if attempt else None

        await self._unit(lease, metadata, begin)
        return turn

    async def _process(self, lease: Lease, turn: Turn) -> Result:
        """Run the processor beside a watch; whichever ends first ends the other."""
        processing = asyncio.create_task(self._run_processor(lease, turn), name=f"process-{turn.job_id}")
        watching = asyncio.create_task(self._watch(lease, turn.job_id), name=f"watch-{turn.job_id}")
        try:
            await asyncio.wait((processing, watching), return_when=asyncio.FIRST_COMPLETED)
            return processing.result() if processing.done() else watching.result()
        finally:
            for task in (processing, watching):
                task.cancel()
            await asyncio.gather(processing, watching, return_exceptions=True)

    async def _watch(self, lease: Lease, job_id: str) -> Result:
        """Raise Withdrawn or HandingOver when the job has to end before its time."""
        changed = asyncio.Event()
        self._running.add(changed)
        handing_over = asyncio.create_task(lease.handing_over.wait())
        handing_over.add_done_callback(lambda _: changed.set())
        try:
            while not lease.handing_over.is_set():
                await wait_for_event(changed, self._settings.cancel_poll_s)
                changed.clear()
                with suppress(*UNREACHABLE):
                    async with self._service.pool.acquire() as connection:
                        if not await store.is_open(connection, job_id):
                            raise Withdrawn
            raise HandingOver
        finally:
            self._running.discard(changed)
            handing_over.cancel()

    async def _run_processor(self, lease: Lease, turn: Turn) -> Result:
        context = turn.task.context
        workspace = Workspace(
            work_folder(self._settings),
            self._files,
            _Receipts(self._service.pool, turn, lease.fence),
            job_id=turn.job_id,
            session_id=context.session_id,
            epoch=lease.epoch,
            report=self._reporter(turn),
        )
        limit = asyncio.timeout(self._settings.job_timeout_s)
        try:
            await workspace.open()
            async with limit:
                return await self._processors.find(turn.task.step).run(turn.task, workspace)
        except (ProcessingError, LeaseLost):
            raise
        except ValueError as error:  # addresses that lead out of their base, or nowhere
            raise ProcessingRefused(str(error)) from error
        except Exception as error:
            if limit.expired():
                raise ProcessingRefused(f"it took longer than {self._settings.job_timeout_s:g} s") from None
            if not isinstance(error, OSError):
                log.exception("job.broke", job=turn.job_id)
            raise ProcessingInterrupted(f"{type(error).__name__}: {error}") from error
        finally:
            await workspace.close()

    def _reporter(self, turn: Turn) -> Callable[[float], Awaitable[None]]:
        said = 0.0

        async def report(fraction: float) -> None:
            nonlocal said
            if time.monotonic() - said < PROGRESS_EVERY_S:
                return
            said = time.monotonic()
            await self._service.bus.signal(
                JobProgress(
                    job_id=turn.job_id,
                    run_id=turn.run_id,
                    session_id=turn.task.context.session_id,
                    step_id=turn.task.step.id,
                    fraction=fraction,
                )
            )

        return report

    async def _after_failure(self, lease: Lease, turn: Turn, error: ProcessingError) -> Outcome:
        number, last = turn.attempt.number, turn.attempt.number >= self._settings.max_attempts
        log.warning("job.failed", job=turn.job_id, attempt=number, fatal=error.fatal, error=str(error))
        if error.fatal:
            return await self._fail(lease, turn, str(error))
        if last:
            return await self._fail(lease, turn, f"given up after {number} attempts: {error}")
        async with self._service.unit(turn.metadata) as work:
            await store.note_error(await work.begin(), turn.job_id, str(error)[: run_domain.MAX_ERROR])
        return Again(min(self._settings.retry_base_job_s * 2.0 ** (number - 1), RETRY_CAP_S))

    async def _fail(self, lease: Lease, turn: Turn, error: str) -> Outcome:
        await self._end(lease, turn, lambda run: run_domain.decide_fail(run, turn.job_id, error))
        return Done()

    async def _end(self, lease: Lease, turn: Turn, decide: Decide) -> None:
        async def end(work: Work) -> None:
            at = await work.load(RUN, turn.run_id)
            await advance_run(work, at, decide(at.state))

        await self._unit(lease, turn.metadata, end)

    async def _unit(self, lease: Lease, metadata: Metadata | None, act: Callable[[Work], Awaitable[None]]) -> None:
        """Do something in one transaction under the fence; decide again when somebody else appended meanwhile."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Conflict),
            stop=stop_after_attempt(CONFLICT_ATTEMPTS),
            wait=wait_random(0.005, 0.1),
            reraise=True,
        ):
            with attempt:
                async with self._service.unit(metadata, fence=lease.fence) as work:
                    await act(work)


class _Receipts:
    """The receipts of one turn, in the service's own table."""

    def __init__(self, pool: Pool, turn: Turn, fence: Fence) -> None:
        self._pool, self._turn, self._fence = pool, turn, fence
        self.known = turn.attempt.receipts

    async def save(self, slot: str, artifact: Artifact) -> None:
        """See ``Receipts``."""
        async with self._pool.acquire() as connection:
            await store.save_receipt(connection, self._turn.job_id, slot, artifact, self._fence)


def work_folder(settings: PipelineSettings) -> Path:
    """Where turns of jobs keep what is not published."""
    return settings.data_dir.resolve() / "pipeline-work"

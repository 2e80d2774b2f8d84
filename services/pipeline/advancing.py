"""What follows from a decision, in the transaction that took it: jobs are offered, uploads sent, the session told, its next runs planned."""

from __future__ import annotations

from collections.abc import Sequence

from chassis.eventlog import Loaded
from chassis.work import Work
from contracts.message import Event
from contracts.pipeline import RunCompleted, RunFailed, RunTriggered, SessionFinished
from contracts.processors import BadDestination
from contracts.uploader import CancelUpload, StartUpload

from services.pipeline import store
from services.pipeline.domain import RUN, SESSION, Run, Session
from services.pipeline.domain import run as run_domain
from services.pipeline.domain import session as session_domain
from services.pipeline.domain.destinations import Context, context_of, upload_targets

JOB = "job"
"""The kind of lease a released job is claimed under."""


async def advance_run(work: Work, at: Loaded[Run], events: Sequence[Event], *, settled_upload: str = "") -> None:
    """Append events of a run and do what follows. ``settled_upload`` is an upload that is over already and needs no cancelling."""
    if not events:
        return
    plan = RUN.fold(events, at.state).plan
    if plan is None:
        return
    session = await work.load(SESSION, plan.session_id)
    events, uploads = _with_uploads(at.state, events, context_of(plan.session_id, session.state))
    await work.append(at, events)
    after = RUN.fold(events, at.state)
    await _follow_jobs(work, at.state, after, settled_upload)
    for upload in uploads:
        await work.send(upload)
    if any(isinstance(event, RunCompleted | RunFailed) for event in events):
        await advance_session(work, session, session_domain.decide_run_over(session.state, after))


async def advance_session(work: Work, at: Loaded[Session], events: Sequence[Event]) -> None:
    """Append events of a session and plan the runs they trigger."""
    await work.append(at, events)
    after = SESSION.fold(events, at.state)
    for finished in (event for event in events if isinstance(event, SessionFinished)):
        if after.plan is not None:
            await store.add_finished(work.connection, after.plan, finished.session_id, tuple(after.files.values()))
    for trigger in (event for event in events if isinstance(event, RunTriggered)):
        if trigger.kind == "manual" or trigger.run_id in at.state.runs:
            continue
        run = await work.load(RUN, trigger.run_id)
        await advance_run(work, run, run_domain.decide_plan(run.state, session_domain.run_for(after, trigger)))


async def _follow_jobs(work: Work, before: Run, after: Run, settled_upload: str) -> None:
    opened = [job for id, job in after.open_jobs.items() if id not in before.open_jobs]
    closed = [job for id, job in before.open_jobs.items() if id not in after.open_jobs]
    run_id = after.plan.run_id if after.plan else ""
    for job in opened:
        await store.add(work.connection, job.job_id, run_id)
        if not job.is_upload:
            await work.offer(JOB, f"{JOB}:{job.job_id}")
    if closed:
        await store.remove(work.connection, [job.job_id for job in closed])
    for job in closed:
        if job.is_upload and after.jobs[job.step.id].status != "done":
            for upload_id in (id for id in job.upload_ids if id not in job.uploads and id != settled_upload):
                await work.send(CancelUpload(upload_id=upload_id))


def _with_uploads(before: Run, events: Sequence[Event], context: Context) -> tuple[list[Event], list[StartUpload]]:
    """The commands for upload jobs that were released; one that has nowhere to go fails its run in the same append."""
    decided = list(events)
    commands: list[StartUpload] = []
    for job_id, job in RUN.fold(decided, before).open_jobs.items():
        if not job.is_upload or job_id in before.open_jobs:
            continue
        try:
            targets = upload_targets(job.step, job.inputs, context)
        except BadDestination as error:
            after = RUN.fold(decided, before)
            return [*decided, *run_domain.decide_fail(after, job_id, str(error))], []
        commands += [
            StartUpload(upload_id=id, session_id=context.session_id, source=source, destination=target)
            for id, source, target in zip(job.upload_ids, job.inputs, targets, strict=True)
        ]
    return decided, commands

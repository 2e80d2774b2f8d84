"""What the pipeline reacts to."""

from __future__ import annotations

from collections.abc import Sequence

from chassis.handlers import Handlers
from chassis.work import Work
from contracts.aggregate import Rejected
from contracts.danmu import ChatEnded, ChatFileCompleted
from contracts.downloader import SegmentCompleted
from contracts.message import Event
from contracts.pipeline import CancelRun, PlanRun, Reclaim, RetryRun, RunPlanned
from contracts.scheduler import ProcessCompleted, RecordingPlanned
from contracts.uploader import UploadCancelled, UploadCompleted, UploadFailed, UploadRequested
from contracts.values import Artifact, Step

from services.pipeline import store
from services.pipeline.adapters.failure import ProcessingRefused
from services.pipeline.adapters.files import Files
from services.pipeline.adapters.processor import Processors
from services.pipeline.advancing import advance_run, advance_session
from services.pipeline.domain import REQUEST, RUN, SESSION, Session
from services.pipeline.domain import reclaim as reclaim_domain
from services.pipeline.domain import run as run_domain
from services.pipeline.domain import session as session_domain
from services.pipeline.domain.graph import job_of_upload


async def on_recording_planned(event: RecordingPlanned, work: Work) -> None:
    """Keep the settings a session is processed with."""
    at = await work.load(SESSION, event.session_id)
    await advance_session(work, at, session_domain.decide_planned(at.state, event))


async def on_segment_completed(event: SegmentCompleted, work: Work) -> None:
    """Process a finished segment."""
    at = await work.load(SESSION, event.session_id)
    await advance_session(work, at, session_domain.decide_segment(at.state, event))


async def on_chat_file_completed(event: ChatFileCompleted, work: Work) -> None:
    """Process a segment together with its chat."""
    at = await work.load(SESSION, event.session_id)
    await advance_session(work, at, session_domain.decide_chat_file(at.state, event))


async def on_process_completed(event: ProcessCompleted, work: Work) -> None:
    """Process the whole session when everything else of it is done."""
    at = await work.load(SESSION, event.session_id)
    await advance_session(work, at, session_domain.decide_recorded(at.state, event))


async def on_chat_ended(event: ChatEnded, work: Work) -> None:
    """No more chat files will come."""
    at = await work.load(SESSION, event.session_id)
    await advance_session(work, at, session_domain.decide_chat_ended(at.state, event))


async def on_upload_requested(event: UploadRequested, work: Work) -> None:
    """Remember which file an upload is of: what was uploaded may go to make room."""
    await store.follow_upload(await work.begin(), event)


async def on_upload_completed(event: UploadCompleted, work: Work) -> None:
    """A file of an upload job is at its destination. Uploads that somebody else asked for are none of ours."""
    job_id = job_of_upload(event.upload_id)
    run_id = await store.run_of(await work.begin(), job_id)
    at = await work.load(RUN, run_id) if run_id is not None else None
    await store.follow_upload(work.connection, event)
    if at is None:
        return
    decided = run_domain.decide_uploaded(at.state, job_id, event.upload_id, event.artifact, event.seconds)
    await advance_run(work, at, decided, settled_upload=event.upload_id)


async def on_upload_failed(event: UploadFailed, work: Work) -> None:
    """A file of an upload job did not arrive."""
    await _fail_upload(event, event.upload_id, f"{event.error} (after {event.attempts} attempts)", work)


async def on_upload_cancelled(event: UploadCancelled, work: Work) -> None:
    """Somebody gave an upload up that a job waits for."""
    await _fail_upload(event, event.upload_id, "the upload was cancelled", work)


async def plan_run(command: PlanRun, work: Work) -> None:
    """Process files by hand."""
    session = await work.load(SESSION, command.session_id)
    at = await work.load(RUN, command.run_id)
    if not run_domain.check_request(at.state, command):
        return
    _check_options(command.steps, work.resource(Processors))
    _check_inputs(command.inputs, session.state, work.resource(Files))
    await advance_session(
        work, session, session_domain.decide_joined(session.state, command.session_id, command.run_id)
    )
    planned = RunPlanned(
        run_id=command.run_id,
        session_id=command.session_id,
        kind="manual",
        index=-1,
        steps=command.steps,
        inputs=command.inputs,
    )
    await advance_run(work, at, run_domain.decide_plan(at.state, planned))


async def retry_run(command: RetryRun, work: Work) -> None:
    """Run again what failed, and what was cancelled because of it."""
    at = await work.load(RUN, command.run_id)
    events = run_domain.decide_retry(at.state, command.run_id)
    if at.state.plan is not None:
        session = await work.load(SESSION, at.state.plan.session_id)
        await advance_session(work, session, session_domain.decide_resumed(session.state, command.run_id))
    await advance_run(work, at, events)


async def cancel_run(command: CancelRun, work: Work) -> None:
    """Give up everything of a run that is not done; whoever works on it notices."""
    at = await work.load(RUN, command.run_id)
    await advance_run(work, at, run_domain.decide_cancel(at.state, command.run_id))


async def reclaim(command: Reclaim, work: Work) -> None:
    """Answer later what would go, or let it go: looking takes a while."""
    at = await work.load(REQUEST, command.request_id)
    events = reclaim_domain.decide_request(at.state, command)
    await work.append(at, events)
    if events:
        await work.offer(RECLAIM, f"{RECLAIM}:{command.request_id}")


async def _fail_upload(event: Event, upload_id: str, error: str, work: Work) -> None:
    job_id = job_of_upload(upload_id)
    run_id = await store.run_of(await work.begin(), job_id)
    at = await work.load(RUN, run_id) if run_id is not None else None
    await store.follow_upload(work.connection, event)
    if at is None:
        return
    job = at.state.job(job_id)
    if job is not None and upload_id in job.upload_ids:
        await advance_run(work, at, run_domain.decide_fail(at.state, job_id, error), settled_upload=upload_id)


RECLAIM = "reclaim"
"""The kind of lease that requests to make room are claimed under."""


def _check_options(steps: Sequence[Step], processors: Processors) -> None:
    for step in steps:
        try:
            processors.check(step)
        except ProcessingRefused as error:
            raise Rejected("Bad options", status=422, detail=f"{step.id}: {error}") from None


def _check_inputs(inputs: Sequence[Artifact], session: Session, files: Files) -> None:
    # Events name files that services of ours wrote; a command names what its sender likes.
    for artifact in inputs:
        if artifact.uri not in session.files and not files.permitted(artifact.uri):
            raise Rejected(
                "Not a file to process",
                status=422,
                detail="an input belongs to the session or lies below data_dir, storage_uri or one of input_roots",
            )


def handlers() -> Handlers:
    """The registry of this service."""
    registry = Handlers("pipeline")
    registry.event(RecordingPlanned)(on_recording_planned)
    registry.event(SegmentCompleted)(on_segment_completed)
    registry.event(ChatFileCompleted)(on_chat_file_completed)
    registry.event(ProcessCompleted)(on_process_completed)
    registry.event(ChatEnded)(on_chat_ended)
    registry.event(UploadRequested)(on_upload_requested)
    registry.event(UploadCompleted)(on_upload_completed)
    registry.event(UploadFailed)(on_upload_failed)
    registry.event(UploadCancelled)(on_upload_cancelled)
    registry.command(PlanRun)(plan_run)
    registry.command(RetryRun)(retry_run)
    registry.command(CancelRun)(cancel_run)
    registry.command(Reclaim)(reclaim)
    return registry

"""The pipeline on a real bus and a real database: events of the other services in, files and events out."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg
import av
import imageio_ffmpeg
import nats
import pytest
from chassis import provision
from chassis.errors import LeaseLost
from chassis.eventlog import Fence
from chassis.ids import new_id
from chassis.storage import Storage, StorageOptions
from chassis.telemetry import new_metadata
from contracts import subjects
from contracts.danmu import ChatEnded, ChatFileCompleted
from contracts.downloader import SegmentCompleted
from contracts.envelope import wrap
from contracts.pipeline import (
    CancelRun,
    JobCompleted,
    JobFailed,
    JobProgress,
    JobStarted,
    PlanRun,
    ProcessingPlanned,
    RetryRun,
    RunCompleted,
    RunFailed,
    RunPlanned,
    SegmentAdded,
    SessionFinished,
)
from contracts.registry import load_vocabulary
from contracts.scheduler import ProcessCompleted, RecordingPlanned
from contracts.system import CommandRejected, of
from contracts.uploader import CancelUpload, StartUpload, UploadCompleted, UploadFailed
from contracts.values import Artifact, Chat, Effective, EndReason, Pipelines, Step

from services.pipeline import store
from services.pipeline.app import build
from services.pipeline.runner import JobRunner
from services.pipeline.settings import PipelineSettings
from services.uploader.tests.s3_server import ACCESS_KEY, REGION, SECRET_KEY, SESSION_TOKEN, S3Server
from tests.deadline import DEADLINE_S
from tests.integration.harness import eventually

pytestmark = pytest.mark.engines
AT = "2026-01-02T03:04:05+00:00"


def video(folder: Path, name: str, seconds: float = 2) -> Artifact:
    """A real recording."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    source = ["-f", "lavfi", "-i", "testsrc2=size=128x72:rate=10", "-f", "lavfi", "-i", "sine=sample_rate=44100"]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10", "-c:a", "aac"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", *source, "-t", str(seconds), *codecs]
    subprocess.run([*command, "-y", str(path)], check=True, timeout=60)
    return artifact_of(path, "video/x-flv")


def artifact_of(path: Path, media_type: str = "text/plain") -> Artifact:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Artifact(uri=path.as_uri(), media_type=media_type, size=len(content), sha256=digest)


def path_of(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def names(artifacts) -> list[str]:
    return [unquote(artifact.uri.rpartition("/")[2]) for artifact in artifacts]


class Outside:
    """The other services: publishes their events, sees what the pipeline says, and uploads what it is told to."""

    def __init__(self, client, *, uploads=True) -> None:
        self.client, self.js, self.uploads = client, client.jetstream(timeout=DEADLINE_S), uploads
        self._ids: set[str] = set()
        self.seen: list = []
        self.commands: list = []
        self.signals: list = []
        self._news = asyncio.Condition()

    async def start(self) -> None:
        await self.client.subscribe("evt.pipeline.>", cb=self._take)
        await self.client.subscribe("cmd.uploader.>", cb=self._upload)
        await self.client.subscribe("sig.pipeline.>", cb=self._signal)
        await self.client.flush()

    async def says(self, *events, source="test") -> None:
        for event in events:
            envelope = wrap(event, id=new_id(), metadata=new_metadata(), source=source, sequence=1)
            await self.js.publish(subjects.of(event), envelope.data, headers=dict(envelope.to_headers()))

    async def until(self, kind, count=1, **fields):
        """The ``count``-th message of a kind with these fields."""

        def found():
            everything = (*self.seen, *self.commands, *self.signals)
            return [m for m in everything if isinstance(m, kind) and all(getattr(m, k) == v for k, v in fields.items())]

        async with asyncio.timeout(DEADLINE_S):
            async with self._news:
                await self._news.wait_for(lambda: len(found()) >= count)
        return found()[count - 1]

    def of(self, kind):
        return [message for message in self.seen if isinstance(message, kind)]

    async def _take(self, raw) -> None:
        await self._note(self.seen, raw)

    async def _signal(self, raw) -> None:
        await self._note(self.signals, raw)

    async def _upload(self, raw) -> None:
        command = await self._note(self.commands, raw)
        if isinstance(command, StartUpload) and self.uploads:
            there = command.source.model_copy(update={"uri": command.destination})
            done = UploadCompleted(
                upload_id=command.upload_id, session_id=command.session_id, artifact=there, seconds=0.5
            )
            await self.says(done, done)

    async def _note(self, where, raw):
        # What was published and not seen to be comes again: the stream drops it, a plain subscriber must.
        id = raw.headers.get("Nats-Msg-Id")
        if id is not None and id in self._ids:
            return None
        self._ids.add(id)
        message = load_vocabulary().decode(raw.headers["ce-type"], raw.data)
        async with self._news:
            where.append(message)
            self._news.notify_all()
        return message

    async def settled(self, consumer):
        """Until the pipeline has reacted to every event that was said."""

        async def idle():
            info = await self.js.consumer_info("EVENTS", consumer)
            return not info.num_pending and not info.num_ack_pending

        await eventually(idle, f"EVENTS/{consumer} is idle")


@pytest.fixture
async def outside(nats_url):
    client = await nats.connect(nats_url)
    await provision.provision(client.jetstream(timeout=DEADLINE_S))
    outside = Outside(client)
    await outside.start()
    yield outside
    await client.close()


@pytest.fixture
async def start(nats_url, postgres_dsn, tmp_path):
    """Start a replica of the pipeline with these settings."""
    started = []

    async def make(**options):
        base = {"database_dsn": postgres_dsn, "nats_url": nats_url, "data_dir": tmp_path / "data"}
        quick = {"retry_base_job_s": 0.05, "retry_base_s": 0.05, "cancel_poll_s": 0.1}
        service = build(PipelineSettings(**{**base, **quick, **options}))
        started.append(service)
        await service.start()
        return service

    yield make
    for service in started:
        await service.stop()


def planned(pipelines, *, chat=True, upload_to="s3://bucket/rec", session_id="s1"):
    return RecordingPlanned(
        session_id=session_id,
        streamer_id="st1",
        streamer_name="Ada",
        url="http://example.org/a.flv",
        platform="direct",
        title="A title",
        category="",
        recording_id="r1",
        effective=Effective(pipelines=pipelines, upload_to=upload_to),
        chat=Chat(kind="bilibili") if chat else None,
        started_at=AT,
    )


def segment(index, artifact, session_id="s1"):
    return SegmentCompleted(
        recording_id="r1",
        session_id=session_id,
        streamer_id="st1",
        index=index,
        artifact=artifact,
        start_ms=0,
        duration_ms=2000,
        started_at=AT,
        split_reason="time",
    )


def recorded(segments, session_id="s1"):
    return ProcessCompleted(session_id=session_id, streamer_id="st1", recordings=("r1",), segments=segments)


FULL = Pipelines(
    segment=(
        Step(id="remux", processor="remux"),
        Step(id="picture", processor="thumbnail", options={"at_s": 1, "width": 64}, after=("remux",)),
        Step(id="up", processor="upload", after=("remux", "picture")),
    ),
    paired=(Step(id="keep", processor="copy", options={"to": "{streamer}/{session_id}"}),),
    session=(Step(id="all", processor="copy", options={"to": "sessions/{session_id}"}),),
)


async def test_a_session_goes_from_its_segments_to_its_manifest(outside, start, postgres_dsn, tmp_path):
    folder = tmp_path / "recordings" / "Ada"
    first, second = video(folder, "a 1.flv"), video(folder, "a 2.flv")
    (folder / "a 1.chat.jsonl.gz").write_bytes(b"log")
    (folder / "a 1.xml").write_bytes(b"<i/>")
    log, xml = artifact_of(folder / "a 1.chat.jsonl.gz"), artifact_of(folder / "a 1.xml")
    # The copies of what was uploaded stand in for a bucket that is mounted, so that the later runs can read them.
    bucket = (tmp_path / "bucket").as_uri()
    archive = tmp_path / "archive"
    service = await start(copy_root=archive.as_uri())
    outside.uploads = False
    chat = ChatFileCompleted(
        session_id="s1", streamer_id="st1", recording_id="r1", index=0, log=log, xml=xml, lines=5, started_at=AT
    )
    end = ChatEnded(session_id="s1", streamer_id="st1", reason=EndReason.OFFLINE, files=1, lines=5)
    await outside.says(planned(FULL, upload_to=bucket), segment(0, first), chat, segment(0, first))
    await outside.says(segment(1, second), recorded(2), end, end)

    for number in range(4):
        upload = await outside.until(StartUpload, number + 1)
        there = path_of(upload.destination)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(path_of(upload.source.uri).read_bytes())
        assert hashlib.sha256(there.read_bytes()).hexdigest() == upload.source.sha256
        artifact = upload.source.model_copy(update={"uri": upload.destination})
        await outside.says(UploadCompleted(upload_id=upload.upload_id, session_id="s1", artifact=artifact, seconds=1.0))

    finished = await outside.until(SessionFinished)
    assert (finished.segments, finished.duration_ms, finished.chat_lines, finished.failed_runs) == (2, 4000, 5, 0)
    uris = [artifact.uri for artifact in finished.manifest]
    assert len(set(uris)) == len(uris)
    both = ["a 1.mp4", "a 1.jpg", "a 2.mp4", "a 2.jpg"]
    paired = ["a 1.mp4", "a 1.jpg", "a 1.chat.jsonl.gz", "a 1.xml"]
    expected = {
        folder.as_uri(): ["a 1.flv", "a 2.flv", "a 1.chat.jsonl.gz", "a 1.xml", *both],
        f"{bucket}/Ada/s1": both,
        f"{archive.as_uri()}/Ada/s1": paired,
        f"{archive.as_uri()}/sessions/s1": [*paired, "a 2.mp4", "a 2.jpg"],
    }
    assert sorted(map(unquote, uris)) == sorted(f"{base}/{name}" for base, files in expected.items() for name in files)
    for artifact in finished.manifest:
        assert artifact_of(path_of(artifact.uri)).sha256 == artifact.sha256, artifact.uri
    with av.open(str(folder / "a 1.mp4")) as media:
        assert abs(media.duration / av.time_base - 2) < 0.3
    runs = outside.of(RunPlanned)
    assert sorted((run.kind, run.index) for run in runs) == [
        ("paired", 0),
        ("segment", 0),
        ("segment", 1),
        ("session", -1),
    ]
    assert len(outside.of(RunCompleted)) == 4 and len(outside.of(SessionFinished)) == 1
    completed = [event.job_id for event in outside.of(JobCompleted)]
    assert len(completed) == len(set(completed)) == 8
    assert not list((tmp_path / "data" / "pipeline-work").iterdir())
    await service.stop()
    connection = await asyncpg.connect(postgres_dsn)
    assert await connection.fetchval("select count(*) from jobs") == 0
    assert await connection.fetchval("select count(*) from leases where kind = 'job'") == 0
    await connection.close()


async def test_events_out_of_order_and_doubled_end_in_one_session(outside, start, tmp_path):
    recording = video(tmp_path / "in", "a.flv", 1)
    await start()
    pipelines = Pipelines(segment=(Step(id="remux", processor="remux"),))
    plan = planned(pipelines, chat=False)
    await outside.says(recorded(1), segment(0, recording), recorded(1), plan, segment(0, recording), plan)
    finished = await outside.until(SessionFinished)
    assert names(finished.manifest) == ["a.flv", "a.mp4"]
    assert len(outside.of(RunPlanned)) == len(outside.of(SessionFinished)) == 1


async def test_a_failing_job_cancels_the_rest_and_the_session_ends_all_the_same(outside, start, tmp_path):
    broken = tmp_path / "in" / "a.flv"
    broken.parent.mkdir()
    broken.write_bytes(b"no video")
    await start()
    steps = (Step(id="remux", processor="remux"), Step(id="up", processor="upload", after=("remux",)))
    await outside.says(planned(Pipelines(segment=steps), chat=False), segment(0, artifact_of(broken)), recorded(1))
    finished = await outside.until(SessionFinished)
    assert finished.failed_runs == 1 and names(finished.manifest) == ["a.flv"]
    assert "no media" in outside.of(JobFailed)[0].error and outside.of(RunFailed)[0].error.startswith("remux: ")
    assert not outside.commands


async def test_a_passing_trouble_is_tried_again_and_not_for_ever(outside, start, tmp_path):
    gone = Artifact(uri=(tmp_path / "in" / "gone.flv").as_uri(), media_type="video/x-flv", size=1)
    await start(max_attempts=3)
    steps = (Step(id="remux", processor="remux"),)
    await outside.says(planned(Pipelines(segment=steps), chat=False), segment(0, gone), recorded(1))
    failed = await outside.until(JobFailed)
    assert "given up after 3 attempts" in failed.error and "not there" in failed.error
    assert len(outside.of(JobStarted)) == 3


async def test_a_failed_run_is_retried_by_hand_and_goes_on_from_where_it_failed(outside, start, tmp_path):
    recording = video(tmp_path / "in", "a.flv", 1)
    service = await start()
    outside.uploads = False
    steps = (Step(id="remux", processor="remux"), Step(id="up", processor="upload", after=("remux",)))
    await outside.says(planned(Pipelines(segment=steps), chat=False), segment(0, recording))
    first = await outside.until(StartUpload)
    await outside.says(UploadFailed(upload_id=first.upload_id, session_id="s1", error="no network", attempts=10))
    failed = await outside.until(RunFailed)
    assert failed.error == "up: no network (after 10 attempts)"
    outside.uploads = True
    await service.bus.send_direct(RetryRun(run_id=failed.run_id))
    await outside.until(RunCompleted)
    second = outside.commands[-1]
    assert second.upload_id != first.upload_id and second.destination == first.destination
    assert [event.step_id for event in outside.of(JobCompleted)] == ["remux", "up"]
    await outside.says(recorded(1))
    finished = await outside.until(SessionFinished)
    assert finished.failed_runs == 0 and names(finished.manifest) == ["a.flv", "a.mp4", "a.mp4"]


async def test_an_upload_with_nowhere_to_go_fails_its_run_at_once(outside, start, tmp_path):
    recording = video(tmp_path / "in", "a.flv", 1)
    await start()
    plan = planned(Pipelines(segment=(Step(id="up", processor="upload"),)), chat=False, upload_to="")
    await outside.says(plan, segment(0, recording), recorded(1))
    assert (await outside.until(SessionFinished)).failed_runs == 1
    assert "no destination" in outside.of(JobFailed)[0].error and not outside.commands


async def test_a_run_by_hand_is_answered_and_its_files_join_the_session(outside, start, tmp_path):
    recording = video(tmp_path / "in", "a.flv", 1)
    service = await start()
    await outside.says(planned(Pipelines(), chat=False), segment(0, recording))
    run = PlanRun(run_id="mine", session_id="s1", steps=(Step(id="remux", processor="remux"),), inputs=(recording,))
    await outside.until(SegmentAdded)
    await service.bus.send_direct(run)
    done = await outside.until(RunCompleted, run_id="mine")
    assert (done.kind, names(done.outputs)) == ("manual", ["a.mp4"])
    await outside.says(recorded(1))
    assert names((await outside.until(SessionFinished)).manifest) == ["a.flv", "a.mp4"]


@pytest.mark.parametrize(
    ("step", "uri", "says"),
    [
        (Step(id="x", processor="remux"), "file:///etc/passwd", "data_dir"),
        (Step(id="x", processor="remux", options={"format": "avi"}), "data", "format"),
        (Step(id="x", processor="execute", options={"program": "/bin/sh"}), "data", "PIPELINE_ALLOW_EXECUTE"),
        (Step(id="x", processor="copy"), "data", "PIPELINE_COPY_ROOT"),
        (Step(id="x", processor="upload", options={"where": "s3://b"}), "data", "where"),
        (Step(id="x", processor="remux", after=("y",)), "data", "waits for"),
    ],
)
async def test_a_run_by_hand_that_cannot_be_is_refused_with_the_reason(outside, start, tmp_path, step, uri, says):
    service = await start()
    uri = (tmp_path / "data" / "a.flv").as_uri() if uri == "data" else uri
    source = Artifact(uri=uri, media_type="video/x-flv", size=1)
    await service.bus.send_direct(PlanRun(run_id="mine", session_id="new", steps=(step,), inputs=(source,)))
    rejected = await outside.until(of("pipeline", CommandRejected))
    assert rejected.problem.status == 422 and says in rejected.problem.detail
    assert not outside.of(RunPlanned)


def waiting_program(tmp_path: Path) -> tuple[str, Path]:
    """A program that says it has begun and then waits for ever; the path it writes its pid to is a FIFO."""
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    program = tmp_path / "wait"
    program.write_text(f"#!/bin/sh\necho $$ > {begun}\nexec sleep 600\n")
    program.chmod(0o755)
    return str(program), begun


@pytest.fixture
async def waiting_run(outside, start, tmp_path):
    """A run by hand whose only running job waits for ever, with another one that waits for it."""
    program, begun = waiting_program(tmp_path)
    service = await start(allow_execute=[program])
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "a.txt").write_text("x")
    steps = (
        Step(id="wait", processor="execute", options={"program": program}),
        Step(id="after", processor="execute", options={"program": program}, after=("wait",)),
    )
    inputs = (artifact_of(tmp_path / "data" / "a.txt"),)
    await service.bus.send_direct(PlanRun(run_id="mine", session_id="new", steps=steps, inputs=inputs))
    return service, int(await asyncio.to_thread(begun.read_text)), begun, program


async def test_cancelling_a_run_ends_its_running_job_in_whichever_replica_it_is(outside, start, waiting_run):
    service, pid, _, _ = waiting_run
    ended = pidfd(pid)
    await start(concurrency=1)  # commands may go to either replica
    await service.bus.send_direct(CancelRun(run_id="mine"))
    failed = await outside.until(RunFailed)
    assert failed.error == "cancelled"
    await ended
    assert await service.pool.fetchval("select count(*) from jobs") == 0


async def test_stopping_a_replica_hands_its_job_over_without_counting_an_attempt(outside, start, waiting_run, tmp_path):
    service, pid, begun, program = waiting_run
    ended = pidfd(pid)
    await service.stop()
    await ended
    other = await start(allow_execute=[program], worker="other")
    await asyncio.to_thread(begun.read_text)
    assert await other.pool.fetchval("select attempts from jobs") == 1
    second = await outside.until(JobStarted, 2)
    assert outside.of(JobStarted)[0].epoch < second.epoch and second.worker == "other"
    await other.bus.send_direct(CancelRun(run_id="mine"))
    await outside.until(RunFailed)


async def test_giving_a_run_up_gives_its_uploads_up(outside, start, tmp_path):
    outside.uploads = False
    service = await start()
    files = []
    (tmp_path / "data").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "data" / name).write_text(name)
        files.append(artifact_of(tmp_path / "data" / name))
    step = Step(id="up", processor="upload", options={"to": "s3://bucket"})
    await service.bus.send_direct(PlanRun(run_id="mine", session_id="new", steps=(step,), inputs=tuple(files)))
    first = await outside.until(StartUpload)
    second = await outside.until(StartUpload, 2)
    assert second.upload_id == f"{first.upload_id}-1"
    await outside.says(UploadFailed(upload_id=first.upload_id, session_id="new", error="refused", attempts=1))
    cancelled = await outside.until(CancelUpload)
    assert cancelled.upload_id == second.upload_id
    assert [c.upload_id for c in outside.commands if isinstance(c, CancelUpload)] == [second.upload_id]


async def test_uploads_of_others_are_none_of_its_business(outside, start):
    service = await start()
    # The plan is of the same session, so it is handled after what comes before it.
    failed = UploadFailed(upload_id="by-hand", session_id="s1", error="x", attempts=1)
    await outside.says(failed, planned(Pipelines(), chat=False))
    await outside.until(ProcessingPlanned)
    await service.bus.send_direct(CancelRun(run_id="nothing"))
    rejected = await outside.until(of("pipeline", CommandRejected))
    assert rejected.problem.status == 404
    assert await service.pool.fetchval("select count(*) from dead_letters") == 0
    assert await service.pool.fetchval("select count(*) from events") == 2


async def test_a_running_job_says_how_far_it_is(outside, start, tmp_path):
    recording = video(tmp_path / "data", "a.flv", 2)
    service = await start()
    step = Step(id="remux", processor="remux")
    await service.bus.send_direct(PlanRun(run_id="mine", session_id="new", steps=(step,), inputs=(recording,)))
    progress = await outside.until(JobProgress, run_id="mine", step_id="remux")
    assert 0 <= progress.fraction <= 1


def pidfd(pid: int):
    """Wait for a process that is not our child."""
    handle, ended = os.pidfd_open(pid), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, ended.set)

    async def wait() -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                await ended.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)

    return wait()


async def test_an_end_that_could_not_be_recorded_is_recorded_by_the_next_turn_and_nothing_is_made_twice(
    outside, start, tmp_path, monkeypatch
):
    recording = video(tmp_path / "data", "a.flv", 1)
    failures, inodes = [], []
    end = JobRunner._end

    async def fail_once(self, lease, turn, decide):
        inodes.append((tmp_path / "data" / "a.mp4").stat().st_ino)
        if not failures:
            failures.append(lease.epoch)
            raise LeaseLost(lease.name)
        await end(self, lease, turn, decide)

    monkeypatch.setattr(JobRunner, "_end", fail_once)
    service = await start()
    step = Step(id="remux", processor="remux")
    await service.bus.send_direct(PlanRun(run_id="mine", session_id="new", steps=(step,), inputs=(recording,)))
    done = await outside.until(RunCompleted)
    assert names(done.outputs) == ["a.mp4"] and len(outside.of(JobCompleted)) == 1
    assert len(set(inodes)) == 1 and len(inodes) == 2
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["a.flv", "a.mp4", "pipeline-work"]


async def test_a_job_that_takes_too_long_fails(outside, start, tmp_path):
    program = tmp_path / "wait"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o755)
    service = await start(allow_execute=[str(program)], job_timeout_s=0.3)
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "a.txt").write_text("x")
    step = Step(id="wait", processor="execute", options={"program": str(program)})
    inputs = (artifact_of(tmp_path / "data" / "a.txt"),)
    await service.bus.send_direct(PlanRun(run_id="mine", session_id="new", steps=(step,), inputs=inputs))
    assert "longer than 0.3 s" in (await outside.until(JobFailed)).error


async def test_a_stale_turn_can_write_no_receipt(outside, start):
    service = await start(concurrency=1)
    artifact = Artifact(uri="file:///a", media_type="video/mp4", size=1)
    async with service.pool.acquire() as connection:
        await store.add(connection, "j1", "r1")
        # The lease of a kind this service does not run, so that nobody claims it meanwhile.
        await connection.execute("insert into leases (name, kind, owner, epoch) values ('job:j1', 'other', 'me', 7)")
        await store.save_receipt(connection, "j1", "0-mp4", artifact, Fence("job:j1", 7))
        for stale in (Fence("job:j1", 6), Fence("job:none", 7)):
            with pytest.raises(LeaseLost):
                await store.save_receipt(connection, "j1", "1-mp4", artifact, stale)
        attempt = await store.begin_attempt(connection, "j1")
        assert attempt is not None and attempt.number == 1 and attempt.receipts == {"0-mp4": artifact}
        await store.remove(connection, ["j1"])
        with pytest.raises(LeaseLost):
            await store.save_receipt(connection, "j1", "1-mp4", artifact, Fence("job:j1", 7))


async def test_what_lies_in_a_bucket_is_fetched_and_its_outputs_go_back_beside_it(
    outside, start, tmp_path, monkeypatch
):
    async with S3Server("recordings").running() as server:
        for name, value in (
            ("AWS_ENDPOINT_URL_S3", server.endpoint),
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_SESSION_TOKEN", SESSION_TOKEN),
        ):
            monkeypatch.setenv(name, value)
        local = video(tmp_path / "in", "a.flv", 1)
        bucket = Storage.from_uri("s3://recordings/Ada", StorageOptions.from_environment(os.environ))
        await bucket.put_file(path_of(local.uri), "a 1.flv")
        source = local.model_copy(update={"uri": bucket.uri("a 1.flv")})
        steps = (
            Step(id="remux", processor="remux"),
            Step(id="picture", processor="thumbnail", options={"at_s": 0}, after=("remux",)),
        )
        await start()
        await outside.says(planned(Pipelines(segment=steps), chat=False), segment(0, source), recorded(1))
        finished = await outside.until(SessionFinished)
        assert finished.failed_runs == 0, outside.of(JobFailed)
        assert [artifact.uri for artifact in finished.manifest] == [
            bucket.uri(f"a 1.{end}") for end in ("flv", "mp4", "jpg")
        ]
        for artifact in finished.manifest:
            content = server.objects[unquote(artifact.uri.removeprefix("s3://recordings/"))].data
            assert hashlib.sha256(content).hexdigest() == artifact.sha256
        assert not server.rejected
    assert not list((tmp_path / "data" / "pipeline-work").iterdir())

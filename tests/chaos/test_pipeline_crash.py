"""The pipeline is killed in the middle of a job: its program dies with it, another process finishes the run, each job completes once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import av
import imageio_ffmpeg
import nats
import pytest
from chassis import provision
from chassis.ids import new_id
from chassis.telemetry import new_metadata
from contracts import subjects
from contracts.downloader import SegmentCompleted
from contracts.envelope import wrap
from contracts.pipeline import JobCompleted, JobReleased, JobStarted, RunCompleted, SessionFinished
from contracts.registry import load_vocabulary
from contracts.scheduler import ProcessCompleted, RecordingPlanned
from contracts.values import Artifact, Effective, Pipelines, Step

from tests.deadline import DEADLINE_S

pytestmark = [pytest.mark.engines, pytest.mark.chaos]
AT = "2026-01-02T03:04:05+00:00"
ROOT = Path(__file__).resolve().parents[2]
STEPS = (
    Step(id="remux", processor="remux"),
    Step(id="picture", processor="thumbnail", options={"at_s": 0}, after=("remux",)),
)


class Replica:
    """One ``python -m services.pipeline``."""

    def __init__(self, environment: dict[str, str], worker: str) -> None:
        command = [sys.executable, "-m", "services.pipeline"]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment | {"PIPELINE_WORKER": worker})

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE_S)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(DEADLINE_S)


def recording(folder: Path) -> Artifact:
    folder.mkdir()
    path = folder / "a.flv"
    source = ["-f", "lavfi", "-i", "testsrc2=size=128x72:rate=10", "-t", "2", "-c:v", "libx264", "-pix_fmt", "yuv420p"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *source, str(path)], check=True, timeout=60)
    return Artifact(uri=path.as_uri(), media_type="video/x-flv", size=path.stat().st_size)


def slow_ffmpeg(tmp_path: Path) -> tuple[str, Path]:
    """ffmpeg, except that a remux first writes half a file, says its pid into a FIFO and hangs as long as the file ``hang`` is there."""
    begun, hang, program = tmp_path / "begun", tmp_path / "hang", tmp_path / "ffmpeg"
    os.mkfifo(begun)
    hang.touch()
    program.write_text(
        "#!/bin/sh\n"
        f'if [ -e {hang} ]; then case "$*" in *genpts*)\n'
        '  for last; do :; done; echo half > "${last#file:}"\n'
        f"  echo $$ > {begun}; exec sleep 600;;\n"
        "esac; fi\n"
        f'exec {imageio_ffmpeg.get_ffmpeg_exe()} "$@"\n'
    )
    program.chmod(0o755)
    return str(program), begun


def session(source: Artifact) -> list:
    plan = RecordingPlanned(
        session_id="s1",
        streamer_id="st1",
        streamer_name="Ada",
        url="http://example.org/a.flv",
        platform="direct",
        title="t",
        category="",
        recording_id="r1",
        effective=Effective(pipelines=Pipelines(segment=STEPS)),
        started_at=AT,
    )
    segment = SegmentCompleted(
        recording_id="r1",
        session_id="s1",
        streamer_id="st1",
        index=0,
        artifact=source,
        start_ms=0,
        duration_ms=2000,
        started_at=AT,
        split_reason="end",
    )
    return [plan, segment, ProcessCompleted(session_id="s1", streamer_id="st1", recordings=("r1",), segments=1)]


@pytest.mark.parametrize("other", ["started afterwards", "running beside it"])
async def test_a_killed_replica_leaves_no_program_and_its_job_is_finished_elsewhere(
    nats_url, postgres_dsn, tmp_path, other
):
    source = recording(tmp_path / "in")
    ffmpeg, begun = slow_ffmpeg(tmp_path)
    environment = {
        "PATH": os.environ["PATH"],
        "PIPELINE_DATABASE_DSN": postgres_dsn,
        "PIPELINE_NATS_URL": nats_url,
        "PIPELINE_DATA_DIR": str(tmp_path / "data"),
        "PIPELINE_FFMPEG": ffmpeg,
    }
    client = await nats.connect(nats_url)
    await provision.provision(client.jetstream())
    seen: asyncio.Queue = asyncio.Queue()
    heard: set[str] = set()

    async def take(raw) -> None:
        # What was published and not yet taken from the outbox at the kill comes again: the stream drops it, a plain subscriber must.
        if raw.headers["Nats-Msg-Id"] not in heard:
            heard.add(raw.headers["Nats-Msg-Id"])
            await seen.put(load_vocabulary().decode(raw.headers["ce-type"], raw.data))

    await client.subscribe("evt.pipeline.>", cb=take)
    replicas = [Replica(environment, "first")]
    try:
        # given: a replica whose ffmpeg is in the middle of a file
        for event in session(source):
            envelope = wrap(event, id=new_id(), metadata=new_metadata(), source="test", sequence=1)
            await client.jetstream().publish(subjects.of(event), envelope.data, headers=dict(envelope.to_headers()))
        async with asyncio.timeout(DEADLINE_S):
            pid = int(await asyncio.to_thread(begun.read_text))
        if other == "running beside it":
            replicas.append(Replica(environment, "second"))
        ended = os.pidfd_open(pid)
        (tmp_path / "hang").unlink()
        # when: it is killed
        await asyncio.to_thread(replicas[0].kill)
        await gone(ended)
        if other == "started afterwards":
            replicas.append(Replica(environment, "second"))
        # then: the other one finishes the session
        events = []
        async with asyncio.timeout(DEADLINE_S):
            while not any(isinstance(event, SessionFinished) for event in events):
                events.append(await seen.get())
        assert await asyncio.to_thread(replicas[1].stop) == 0
    finally:
        for replica in replicas:
            replica.kill()
        await client.close()
    judge(events, tmp_path)


def judge(events: list, tmp_path: Path) -> None:
    kinds = Counter(type(event) for event in events)
    assert kinds[RunCompleted] == kinds[SessionFinished] == 1
    assert [event.step.id for event in events if isinstance(event, JobReleased)] == ["remux", "picture"]
    assert [event.step_id for event in events if isinstance(event, JobCompleted)] == ["remux", "picture"]
    started = [event for event in events if isinstance(event, JobStarted)]
    assert [(event.step_id, event.worker) for event in started] == [
        ("remux", "first"),
        ("remux", "second"),
        ("picture", "second"),
    ]
    assert started[0].epoch < started[1].epoch
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["a.flv", "a.jpg", "a.mp4"]
    with av.open(str(tmp_path / "in" / "a.mp4")) as media:
        assert sum(1 for _ in media.decode(video=0)) == 20
    assert list((tmp_path / "data" / "pipeline-work").iterdir()) == []


async def gone(handle: int) -> None:
    """Wait for the end of a process that is not our child."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(DEADLINE_S):
            await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)

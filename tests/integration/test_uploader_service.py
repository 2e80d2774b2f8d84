"""Uploads through the real service: command in, verified file out."""

import asyncio
import hashlib
from pathlib import Path

import nats
import pytest
from chassis import leases, provision
from chassis.leases import MAX_DEATHS
from contracts.uploader import CancelUpload, StartUpload, UploadCompleted, UploadFailed
from contracts.values import Artifact

from services.uploader import store
from services.uploader.app import build
from services.uploader.settings import UploaderSettings
from tests.deadline import DEADLINE_S
from tests.integration.harness import eventually

pytestmark = pytest.mark.engines


@pytest.fixture
async def rig(nats_url, postgres_dsn, tmp_path):
    client = await nats.connect(nats_url)
    await provision.provision(client.jetstream(timeout=DEADLINE_S))
    events = asyncio.Queue()

    async def take(message):
        await events.put(message)

    await client.subscribe("evt.uploader.upload.>", cb=take)
    await client.flush()
    service = build(
        UploaderSettings(
            database_dsn=postgres_dsn,
            nats_url=nats_url,
            roots=((tmp_path / "bucket").as_uri(),),
            retry_base_upload_s=0.1,
        )
    )
    await service.start()
    yield service, events, tmp_path
    await service.stop()
    await client.close()


def file_of(folder: Path, name: str, size: int) -> Artifact:
    path = folder / name
    path.write_bytes(bytes(n % 251 for n in range(size)))
    return Artifact(
        uri=path.as_uri(), media_type="video/mp4", size=size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
    )


async def until(events, kind):
    async with asyncio.timeout(DEADLINE_S):
        while True:
            message = await events.get()
            if message.headers["ce-type"] == kind.full_type():
                return kind.from_json(message.data)


async def test_a_file_arrives_whole_and_verified(rig):
    service, events, folder = rig
    source = file_of(folder, "a.mp4", 300_000)
    target = (folder / "bucket" / "day" / "a.mp4").as_uri()
    await service.bus.send_direct(StartUpload(upload_id="u1", session_id="s", source=source, destination=target))
    done = await until(events, UploadCompleted)
    assert done.artifact.uri == target and done.artifact.sha256 == source.sha256
    assert (folder / "bucket" / "day" / "a.mp4").read_bytes() == (folder / "a.mp4").read_bytes()
    assert await service.pool.fetchval("select count(*) from progress") == 0


async def test_a_destination_outside_the_roots_fails_and_writes_nothing(rig):
    service, events, folder = rig
    target = (folder / "elsewhere" / "a.mp4").as_uri()
    await service.bus.send_direct(
        StartUpload(upload_id="u2", session_id="s", source=file_of(folder, "b.mp4", 10), destination=target)
    )
    failed = await until(events, UploadFailed)
    assert failed.attempts == 1 and not (folder / "elsewhere").exists()


async def test_a_missing_source_fails_at_once(rig):
    service, events, folder = rig
    gone = Artifact(uri=(folder / "gone.mp4").as_uri(), media_type="video/mp4", size=1)
    await service.bus.send_direct(
        StartUpload(upload_id="u3", session_id="s", source=gone, destination=(folder / "bucket" / "c").as_uri())
    )
    assert "gone" in (await until(events, UploadFailed)).error


async def died(service, deaths):
    """From now on, so many owners have died of whatever is offered."""
    await service.pool.execute(f"alter table leases alter column deaths set default {deaths}")


async def test_an_upload_that_ends_its_process_each_time_is_given_up(rig):
    service, events, folder = rig
    source, target = file_of(folder, "k.mp4", 10), (folder / "bucket" / "k.mp4").as_uri()
    await died(service, MAX_DEATHS)
    await service.bus.send_direct(StartUpload(upload_id="u4", session_id="s", source=source, destination=target))
    failed = await until(events, UploadFailed)
    assert "process ended 5 times" in failed.error and failed.attempts == MAX_DEATHS
    assert not (folder / "bucket" / "k.mp4").exists()
    await eventually(lambda: service.pool.fetchval("select not exists (select from leases)"))


@pytest.mark.parametrize(("sent_before", "further"), [(0, True), (1 << 40, False)])
async def test_only_an_upload_that_gets_further_than_before_is_forgiven_its_deaths(
    rig, monkeypatch, sent_before, further
):
    service, events, folder = rig
    forgiven = []

    async def progressed(connection, lease):
        forgiven.append(lease.deaths)

    monkeypatch.setattr(leases, "progressed", progressed)
    source, target = file_of(folder, "l.mp4", 9 << 20), (folder / "bucket" / "l.mp4").as_uri()
    await died(service, MAX_DEATHS - 1)
    # what the dead had sent; of another source, so that it begins again
    await store.save(service.pool, "u5", 0, {"sent": sent_before, "of": "another"})
    await service.bus.send_direct(StartUpload(upload_id="u5", session_id="s", source=source, destination=target))
    assert (await until(events, UploadCompleted)).artifact.sha256 == source.sha256
    assert bool(forgiven) == further and set(forgiven) <= {MAX_DEATHS - 1}


async def test_cancelling_an_unknown_upload_is_rejected(rig):
    service, _, _ = rig
    rejected = asyncio.Queue()

    async def take(message):
        await rejected.put(message)

    await service.bus.client.subscribe("evt.uploader.command.>", cb=take)
    await service.bus.send_direct(CancelUpload(upload_id="nope"))
    async with asyncio.timeout(DEADLINE_S):
        assert b'"status":404' in (await rejected.get()).data

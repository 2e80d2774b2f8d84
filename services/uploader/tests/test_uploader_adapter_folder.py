"""Uploads to a folder: atomic, resumable after a crash, read back at the end, never outside their roots."""

from __future__ import annotations

import asyncio
import hashlib
import random
from pathlib import Path
from typing import Any

import pytest
from chassis.storage import LocalStorage

from services.uploader.adapters import folder as folder_module
from services.uploader.adapters.folder import FolderStore
from services.uploader.adapters.object_store import (
    ArtifactSource,
    Json,
    UploadCorrupt,
    UploadInterrupted,
    UploadRefused,
)

PIECE = 1000
CONTENT = random.Random(3).randbytes(5 * PIECE + 123)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


@pytest.fixture
def store(root: Path) -> FolderStore:
    return FolderStore((root,), piece=PIECE)


@pytest.fixture
def source(tmp_path: Path) -> ArtifactSource:
    (tmp_path / "source.flv").write_bytes(CONTENT)
    return ArtifactSource(LocalStorage(tmp_path), "source.flv", DIGEST)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offsets at which pieces are written."""
    offsets: list[int] = []
    write = folder_module._write

    def spy(part: Any, offset: int, piece: bytes) -> None:
        offsets.append(offset)
        write(part, offset, piece)

    monkeypatch.setattr(folder_module, "_write", spy)
    return offsets


class Crash(Exception):
    """The process ended here."""


class Ledger:
    def __init__(self, crash_after: int = 0) -> None:
        self.states: list[Json] = []
        self.crash_after = crash_after

    async def __call__(self, state: Json) -> None:
        self.states.append(state)
        if len(self.states) == self.crash_after:
            raise Crash


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_file_is_copied_and_verified(store: FolderStore, root: Path, source: ArtifactSource) -> None:
    ledger = Ledger()
    destination = f"{root.as_uri()}/shows/a%20%231.flv"

    done = await store.upload(source, destination, on_progress=ledger)

    assert (root / "shows" / "a #1.flv").read_bytes() == CONTENT
    assert (done.uri, done.size, done.sha256) == (destination, len(CONTENT), DIGEST)
    assert [state["sent"] for state in ledger.states] == [1000, 2000, 3000, 4000, 5000, 5123]
    assert {state["size"] for state in ledger.states} == {len(CONTENT)}
    assert names(root / "shows") == ["a #1.flv"]


async def test_a_copy_has_the_tag_that_storage_gives(store: FolderStore, root: Path, source: ArtifactSource) -> None:
    done = await store.upload(source, f"{root.as_uri()}/x", on_progress=Ledger())

    assert (await LocalStorage(root).stat("x")).etag == done.etag


async def test_after_a_crash_only_what_is_missing_is_copied(
    store: FolderStore, root: Path, source: ArtifactSource, written: list[int]
) -> None:
    destination = f"{root.as_uri()}/x.flv"
    ledger = Ledger(crash_after=3)
    with pytest.raises(Crash):
        await store.upload(source, destination, on_progress=ledger)
    assert [name.endswith(".part") for name in names(root)] == [True]
    written.clear()

    done = await store.upload(source, destination, resume=ledger.states[-1], on_progress=Ledger())

    assert written == [3000, 4000, 5000]
    assert done.sha256 == DIGEST
    assert names(root) == ["x.flv"]


async def test_a_damaged_part_file_is_not_built_upon(
    store: FolderStore, root: Path, source: ArtifactSource, written: list[int]
) -> None:
    # given a copy whose second piece a power cut turned into zeros, with rubbish behind the end
    destination = f"{root.as_uri()}/x.flv"
    ledger = Ledger(crash_after=4)
    with pytest.raises(Crash):
        await store.upload(source, destination, on_progress=ledger)
    part = root / names(root)[0]
    part.write_bytes(CONTENT[:1000] + bytes(1000) + CONTENT[2000:4000] + b"rubbish" * 1000)
    written.clear()

    # when it goes on
    await store.upload(source, destination, resume=ledger.states[-1], on_progress=Ledger())

    # then it goes on after the last piece that is right
    assert written == [1000, 2000, 3000, 4000, 5000]
    assert (root / "x.flv").read_bytes() == CONTENT


@pytest.mark.parametrize("resume", [None, {}, {"size": 1}])
async def test_without_a_fitting_state_it_begins_again(
    store: FolderStore, root: Path, source: ArtifactSource, written: list[int], resume: Json | None
) -> None:
    destination = f"{root.as_uri()}/x.flv"
    with pytest.raises(Crash):
        await store.upload(source, destination, on_progress=Ledger(crash_after=3))
    written.clear()

    await store.upload(source, destination, resume=resume, on_progress=Ledger())

    assert written[0] == 0
    assert (root / "x.flv").read_bytes() == CONTENT


async def test_the_old_file_stays_until_the_new_one_is_whole(
    store: FolderStore, root: Path, source: ArtifactSource
) -> None:
    (root / "x.flv").write_bytes(b"old")
    with pytest.raises(Crash):
        await store.upload(source, f"{root.as_uri()}/x.flv", on_progress=Ledger(crash_after=2))

    assert (root / "x.flv").read_bytes() == b"old"


async def test_a_disk_that_lies_is_found_out(
    store: FolderStore, root: Path, source: ArtifactSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = folder_module._write
    monkeypatch.setattr(folder_module, "_write", lambda part, offset, piece: write(part, offset, piece[:-1] + b"\0"))

    with pytest.raises(UploadCorrupt, match="disk"):
        await store.upload(source, f"{root.as_uri()}/x.flv", on_progress=Ledger())
    assert "x.flv" not in names(root)


async def test_a_full_disk_interrupts(
    store: FolderStore, root: Path, source: ArtifactSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(part: Any, offset: int, piece: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_module, "_write", full)

    with pytest.raises(UploadInterrupted, match="No space left") as interrupted:
        await store.upload(source, f"{root.as_uri()}/x.flv", on_progress=Ledger())
    assert not interrupted.value.fatal


async def test_giving_up_removes_the_part_file(store: FolderStore, root: Path, source: ArtifactSource) -> None:
    destination = f"{root.as_uri()}/x.flv"
    ledger = Ledger(crash_after=2)
    with pytest.raises(Crash):
        await store.upload(source, destination, on_progress=ledger)

    await store.abandon(destination, ledger.states[-1])
    await store.abandon(destination, ledger.states[-1])

    assert names(root) == []


async def test_a_source_with_another_checksum_is_refused(
    store: FolderStore, root: Path, source: ArtifactSource
) -> None:
    wrong = ArtifactSource(source.storage, source.key, "0" * 64)

    with pytest.raises(UploadRefused, match="recorded with"):
        await store.upload(wrong, f"{root.as_uri()}/x.flv", on_progress=Ledger())
    assert "x.flv" not in names(root)


async def test_a_source_that_shrinks_meanwhile_is_corrupt(
    store: FolderStore, root: Path, source: ArtifactSource, tmp_path: Path
) -> None:
    async def shrink(state: Json) -> None:
        await asyncio.to_thread((tmp_path / "source.flv").write_bytes, CONTENT[:2000])

    with pytest.raises(UploadCorrupt, match="changed"):
        await store.upload(source, f"{root.as_uri()}/x.flv", on_progress=shrink)


async def test_destinations_outside_the_roots_are_refused(
    store: FolderStore, root: Path, source: ArtifactSource, tmp_path: Path
) -> None:
    (root / "link").symlink_to(tmp_path)
    for destination in (
        f"{tmp_path.as_uri()}/x.flv",
        f"{root.as_uri()}/../x.flv",
        f"{root.as_uri()}/%2e%2e/x.flv",
        f"{root.as_uri()}/link/x.flv",
        f"{root.as_uri()}/",
        root.as_uri(),
        f"{root.as_uri()}-other/x.flv",
        "file://host/x.flv",
        "file:///etc/passwd",
        f"{root.as_uri()}/x.flv?y",
    ):
        with pytest.raises(UploadRefused):
            await store.upload(source, destination, on_progress=Ledger())
    assert names(root) == ["link"]


async def test_without_roots_no_folder_is_allowed(root: Path, source: ArtifactSource) -> None:
    with pytest.raises(UploadRefused, match="folder that uploads may go to"):
        await FolderStore(()).upload(source, f"{root.as_uri()}/x.flv", on_progress=Ledger())


async def test_a_link_in_place_of_the_part_file_is_not_followed(
    store: FolderStore, root: Path, source: ArtifactSource, tmp_path: Path
) -> None:
    destination = f"{root.as_uri()}/x.flv"
    ledger = Ledger(crash_after=1)
    with pytest.raises(Crash):
        await store.upload(source, destination, on_progress=ledger)
    part = root / names(root)[0]
    part.unlink()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    part.symlink_to(victim)

    with pytest.raises(UploadInterrupted):
        await store.upload(source, destination, resume=ledger.states[-1], on_progress=Ledger())
    assert victim.read_bytes() == b"precious"

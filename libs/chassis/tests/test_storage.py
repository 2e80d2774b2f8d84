"""One compliance suite for every `Storage`: a folder and a bucket behave alike."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from chassis import storage as storage_module
from chassis.storage import LocalStorage, Storage, StorageFailed, StorageOptions, UnsafePath, join, safe_key

from services.uploader.tests.s3_server import ACCESS_KEY, REGION, SECRET_KEY, SESSION_TOKEN, S3Server
from tests.deadline import DEADLINE_S

PART = 5 * 1024 * 1024
CONTENT = random.Random(1).randbytes(11 * 1024 * 1024)  # three parts


@pytest.fixture
async def s3() -> AsyncIterator[S3Server]:
    async with S3Server().running() as server:
        yield server


def options(server: S3Server) -> StorageOptions:
    return StorageOptions(
        endpoint=server.endpoint,
        region=REGION,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        session_token=SESSION_TOKEN,
        part_size=PART,
        request_timeout_seconds=DEADLINE_S,
    )


@pytest.fixture(params=["file", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server) -> Storage:
    if request.param == "file":
        return Storage.from_uri((tmp_path / "my folder").as_uri())
    return Storage.from_uri("s3://archive/my%20folder", options(s3))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.flv"
    path.write_bytes(CONTENT)
    return path


def is_there(path: Path) -> bool:
    return path.exists()


async def content_of(store: Storage, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in store.read(key, start, end, chunk=100_000)])


# --- every store -----------------------------------------------------------------------------------------------------


async def test_what_was_put_can_be_read_whole_and_in_ranges(store: Storage, source: Path) -> None:
    progress: list[tuple[int, int]] = []

    stored = await store.put_file(
        source, "a b/録画 #1 [x]%2f.flv", on_progress=lambda done, total: progress.append((done, total))
    )

    assert stored.size == len(CONTENT)
    assert stored.etag
    key = "a b/録画 #1 [x]%2f.flv"
    assert await content_of(store, key) == CONTENT
    assert await content_of(store, key, 5, 12) == CONTENT[5:12]
    assert await content_of(store, key, len(CONTENT) - 3) == CONTENT[-3:]
    assert await content_of(store, key, len(CONTENT) - 3, len(CONTENT) + 100) == CONTENT[-3:]
    assert await content_of(store, key, len(CONTENT)) == b""
    assert await content_of(store, key, 7, 7) == b""
    assert progress[-1] == (len(CONTENT), len(CONTENT))
    assert progress == sorted(progress)
    assert len(progress) > 3


@pytest.mark.parametrize("size", [0, 1, PART])
async def test_small_and_empty_files(store: Storage, tmp_path: Path, size: int) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"x" * size)

    assert (await store.put_file(path, "small.xml")).size == size
    assert await content_of(store, "small.xml") == b"x" * size
    assert is_there(path)


async def test_a_put_replaces(store: Storage, tmp_path: Path) -> None:
    path = tmp_path / "x"
    for text in ("first", "second!"):
        path.write_text(text)
        await store.put_file(path, "x.txt")

    assert await content_of(store, "x.txt") == b"second!"


async def test_a_move_leaves_no_source(store: Storage, source: Path) -> None:
    await store.put_file(source, "moved.flv", move=True)

    assert not is_there(source)
    assert await content_of(store, "moved.flv") == CONTENT


async def test_uris_name_keys_and_come_back(store: Storage) -> None:
    key = "show/50% off #1?.flv"

    assert store.key(store.uri(key)) == key
    assert store.key(f"{unquote(store.base)}/a b.flv") == "a b.flv"
    with pytest.raises(UnsafePath):
        store.key("file:///elsewhere/x.flv")
    with pytest.raises(UnsafePath):
        store.key(store.base + "-other/x.flv")
    with pytest.raises(UnsafePath):
        store.key(store.base + "/%2e%2e/x.flv")


async def test_delete_is_idempotent_and_missing_objects_are_missing(store: Storage, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    await store.put_file(path, "gone.txt")

    await store.delete("gone.txt")
    await store.delete("gone.txt")

    with pytest.raises(FileNotFoundError):
        await store.stat("gone.txt")
    with pytest.raises(FileNotFoundError):
        await content_of(store, "gone.txt")


async def test_list_gives_what_lies_below_a_folder(store: Storage, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    for key in ("a/1.flv", "a/b/2.flv", "ab/3.flv"):
        await store.put_file(path, key)

    assert sorted([found.key async for found in store.list()]) == ["a/1.flv", "a/b/2.flv", "ab/3.flv"]
    assert sorted([(found.key, found.size) async for found in store.list("a")]) == [("a/1.flv", 3), ("a/b/2.flv", 3)]
    assert [found async for found in store.list("nothing")] == []


async def test_read_bytes_is_bounded(store: Storage, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    await store.put_file(path, "x.json")

    assert await store.read_bytes("x.json", limit=5) == b"12345"
    with pytest.raises(ValueError, match="larger than 4"):
        await store.read_bytes("x.json", limit=4)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "..",
        "../x",
        "a/../x",
        "a/..",
        "./x",
        "a//x",
        "a/",
        "a\\..\\x",
        "nul\0x",
        "line\nx",
        "\udc80",
        "x" * 256,
        "y/" * 600 + "z",
    ],
)
async def test_no_key_leaves_the_base(store: Storage, source: Path, key: str) -> None:
    for attempt in (
        lambda: store.put_file(source, key),
        lambda: store.stat(key),
        lambda: store.delete(key),
        lambda: content_of(store, key),
    ):
        with pytest.raises(UnsafePath):
            await attempt()
    with pytest.raises(UnsafePath):
        store.uri(key)


def test_join_judges_each_part() -> None:
    assert join("streamer", "2026-01-01", "a.flv") == "streamer/2026-01-01/a.flv"
    for parts in (("a", "../b"), ("a", "/b"), ("a", ""), ("",)):
        with pytest.raises(UnsafePath):
            join(*parts)
    assert safe_key("...") == "..."


@pytest.mark.parametrize(
    "base",
    [
        "ftp://host/x",
        "file://host/x",
        "file:relative",
        "s3://",
        "/plain/path",
        "s3://key:secret@bucket/x",
        "s3://bucket/x?sig=1",
    ],
)
def test_other_bases_are_refused(base: str) -> None:
    with pytest.raises(ValueError, match="storage URI"):
        Storage.from_uri(base)


# --- a folder --------------------------------------------------------------------------------------------------------


async def test_a_link_out_of_the_root_is_refused(tmp_path: Path, source: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (root / "link").symlink_to(outside)
    (root / "file-link").symlink_to(outside / "secret")
    (root / "inside").mkdir()
    (root / "inner-link").symlink_to(root / "inside")
    store = LocalStorage(root)

    for key in ("link/secret", "file-link", "link/new.flv"):
        with pytest.raises(UnsafePath, match="leads out"):
            await store.stat(key)
        with pytest.raises(UnsafePath, match="leads out"):
            await store.put_file(source, key)
        with pytest.raises(UnsafePath, match="leads out"):
            await store.delete(key)
    assert (outside / "secret").read_text() == "secret"
    assert [found.key async for found in store.list()] == []
    assert (await store.put_file(source, "inner-link/x.flv")).size == len(CONTENT)


async def test_an_interrupted_put_leaves_the_old_file_and_no_rubbish(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an object and a disk that fills up in the middle of its replacement
    store = LocalStorage(tmp_path / "root")
    old = tmp_path / "old"
    old.write_text("old")
    await store.put_file(old, "x.flv")
    copied = 0

    def disk_full(reader: object, writer: object) -> int:
        nonlocal copied
        copied += 1
        if copied == 3:
            raise OSError(28, "No space left on device")
        return original(reader, writer)

    original = storage_module._copy_chunk
    monkeypatch.setattr(storage_module, "_copy_chunk", disk_full)

    # when it is replaced
    with pytest.raises(OSError, match="No space left"):
        await store.put_file(source, "x.flv")

    # then nothing has changed
    assert copied == 3
    assert await content_of(store, "x.flv") == b"old"
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["x.flv"]


@pytest.mark.parametrize("move", [False, True])
async def test_content_and_name_are_synced_to_disk_in_that_order(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, move: bool
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def spy_fsync(descriptor: int) -> None:
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync content")
        fsync(descriptor)

    def spy_replace(path: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)

    await LocalStorage(tmp_path / "root").put_file(source, "x.flv", move=move)

    assert steps == ["sync content", "rename", "sync folder"]


async def test_a_local_file_can_be_worked_on_in_place(tmp_path: Path, source: Path) -> None:
    store = LocalStorage(tmp_path)

    path = store.local_path("source.flv")

    assert path.read_bytes() == CONTENT
    assert (await store.stat("source.flv")).size == len(CONTENT)
    with pytest.raises(UnsafePath):
        store.local_path("../x")


async def test_a_root_may_be_a_link_and_keeps_its_name(tmp_path: Path, source: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "name").symlink_to(tmp_path / "real")
    store = Storage.from_uri((tmp_path / "name").as_uri())

    await store.put_file(source, "x.flv")

    assert store.uri("x.flv") == (tmp_path / "name" / "x.flv").as_uri()
    assert store.key((tmp_path / "name" / "x.flv").as_uri()) == "x.flv"
    assert store.local_path("x.flv") == tmp_path / "real" / "x.flv"


async def test_a_folder_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError):
        await LocalStorage(tmp_path).stat("folder")


# --- a bucket --------------------------------------------------------------------------------------------------------


async def test_large_objects_go_up_in_parts_and_keep_their_hash(s3: S3Server, source: Path) -> None:
    store = Storage.from_uri("s3://archive", options(s3))
    digest = hashlib.sha256(CONTENT).hexdigest()

    stored = await store.put_file(source, "x.flv", sha256=digest)

    assert s3.count("PUT", "partNumber") == 3
    assert s3.objects["x.flv"].data == CONTENT
    assert stored.sha256 == digest
    assert s3.rejected == []
    assert store.local_path("x.flv") is None


async def test_refused_access_is_a_permission_error(s3: S3Server, source: Path) -> None:
    store = Storage.from_uri("s3://archive", options(s3))
    s3.fail = lambda seen: 403

    with pytest.raises(PermissionError, match=r"x\.flv"):
        await store.stat("x.flv")
    with pytest.raises(PermissionError):
        await store.put_file(source, "x.flv")


async def test_other_failures_are_storage_failures(s3: S3Server) -> None:
    store = Storage.from_uri("s3://archive", options(s3))
    s3.fail = lambda seen: 400

    with pytest.raises(StorageFailed):
        await store.stat("x.flv")


def test_options_come_from_the_environment_and_hide_their_secrets() -> None:
    read = StorageOptions.from_environment(
        {
            "AWS_ENDPOINT_URL": "http://minio:9000",
            "AWS_REGION": "r",
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "hidden",
            "AWS_SESSION_TOKEN": "hidden",
        }
    )

    assert (read.endpoint, read.region, read.access_key_id) == ("http://minio:9000", "r", "id")
    assert read.secret_access_key == "hidden"
    assert "hidden" not in repr(read)

"""Where files are: ``.part`` files by recording while they are written, artifacts in the storage when they are finished.

A part carries recording, number and epoch in its path, so that two owners never write one file and whoever holds the folder finds
what a crash left. Before a finished file gets its name, a note beside it says which event tells of it: if the process dies between
the two, the next owner appends that event.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import io
import json
import os
import re
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from chassis.folders import in_folder
from chassis.s3_multipart import S3Multipart
from chassis.storage import Storage, StorageOptions, UnsafePath
from contracts.downloader import SegmentCompleted
from contracts.values import Artifact, Json
from pydantic import ValidationError

from services.downloader.adapters.place import Place
from services.downloader.adapters.streamed import StreamedFile, Streaming

PARTS = ".partial"
RECOVERED = "recovered"
MAX_COPIES = 1000
MEDIA_TYPES = {"flv": "video/x-flv", "ts": "video/mp2t", "mp4": "video/mp4", "aac": "audio/aac"}
_PART = re.compile(r"(?P<index>\d{6,9})-e(?P<epoch>\d{1,18})-(?P<ms>\d{1,15})\.(?P<ext>flv|ts|mp4|aac)\.part\Z")
_RECORDING = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Part:
    """A file that is being written, or was."""

    path: Path
    recording_id: str
    index: int
    epoch: int
    extension: str
    created_at: datetime

    @property
    def note(self) -> Path:
        """Where the event is noted that tells of the finished file."""
        return self.path.with_suffix(".done")


class PartFile(io.FileIO):
    """A new file, unbuffered (recorders gather their writes), locked as long as it is open: nobody recovers what is being written."""

    def __init__(self, part: Part) -> None:
        super().__init__(part.path, "x+")
        self.part = part
        fcntl.flock(self.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


class Folder:
    """The files of this replica. Raises OSError for what the disk refuses."""

    def __init__(self, storage: Storage, parts: Path, *, hash_max_bytes: int = 0) -> None:
        self.storage, self._parts, self._hash_max_bytes = storage, parts, hash_max_bytes

    @classmethod
    def at(cls, storage_uri: str, data_dir: Path, options: StorageOptions, *, hash_max_bytes: int) -> Folder:
        """Parts lie beside finished files, so that finishing is a rename; before an upload to a bucket, below ``data_dir``."""
        base = data_dir.absolute()
        if not storage_uri:
            storage_uri = (base / "recordings").as_uri()
        storage = Storage.from_uri(storage_uri, options)
        home = storage.local_path(PARTS) or base / PARTS
        return cls(storage, home, hash_max_bytes=hash_max_bytes)

    @property
    def remote(self) -> bool:
        """Whether finishing a file means uploading it."""
        return self.storage.local_path(PARTS) is None

    def place(self, marker: str = "") -> Place:
        """Where this folder lies, to be looked at."""
        root = None if self.remote else self._parts.parent
        return Place(self._parts, root, marker)

    # Parts

    def open(self, recording_id: str, epoch: int, index: int, extension: str) -> PartFile:
        """Begin a part."""
        part = self.part(recording_id, epoch, index, extension)
        return in_folder(part.path.parent, lambda: PartFile(part))

    def part(self, recording_id: str, epoch: int, index: int, extension: str) -> Part:
        """A part that begins now, without its file."""
        now = datetime.now(UTC)
        name = f"{index:06d}-e{epoch}-{int(now.timestamp() * 1000)}.{extension}.part"
        return Part(self._home(recording_id) / name, recording_id, index, epoch, extension, now)

    def recordings(self) -> list[str]:
        """Recordings that have left something here."""
        return sorted(entry.name for entry in _entries(self._parts) if _RECORDING.match(entry.name))

    def parts(self, recording_id: str) -> list[Part]:
        """Parts and notes of a recording, in the order of their numbers. A part that is finished may be there as a note alone."""
        home = self._home(recording_id)
        names = {entry.with_suffix(".part").name for entry in _entries(home) if entry.suffix in (".part", ".done")}
        found = [_parse(home / name, recording_id) for name in names]
        return sorted((part for part in found if part), key=lambda part: (part.index, part.epoch, part.created_at))

    def keep_cursor(self, recording_id: str, epoch: int, cursor: Json) -> None:
        """Write down how far a playlist was written; read again by :meth:`cursor`. Called from the writing thread."""
        kept = json.dumps({"epoch": epoch, "cursor": cursor})
        home = self._home(recording_id)
        # Of a recording that has no file yet there may be no folder.
        in_folder(home, lambda: (home / "cursor.json").write_text(kept))

    def cursor(self, recording_id: str, epoch: int) -> Json | None:
        """How far the owner of an epoch had written its playlist, if it was here."""
        try:
            kept = json.loads((self._home(recording_id) / "cursor.json").read_bytes())
        except (OSError, ValueError):
            return None
        return kept["cursor"] if kept.get("epoch") == epoch and isinstance(kept.get("cursor"), dict) else None

    def whole(self, part: Part) -> int | None:
        """So many bytes of a part hold whole segments of a playlist, which goes on behind them; ``None`` when nobody wrote that down."""
        cursor = self.cursor(part.recording_id, part.epoch)
        if cursor is None or cursor.get("index") != part.index or not isinstance(cursor.get("bytes"), int):
            return None
        return int(cursor["bytes"])

    def remove(self, part: Part) -> None:
        """Remove a part and its note."""
        part.path.unlink(missing_ok=True)
        part.note.unlink(missing_ok=True)

    def close_recording(self, recording_id: str) -> None:
        """Remove what is left of a recording's folder when no part is in it."""
        home = self._home(recording_id)
        if self.parts(recording_id):
            return
        for left in _entries(home):
            # What an owner that was cut off begins in this moment stays, and so does its folder.
            if left.suffix != ".part":
                with suppress(OSError):
                    left.unlink()
        with suppress(OSError):
            home.rmdir()
        with suppress(OSError):  # other recordings are in it
            self._parts.rmdir()

    def set_aside(self, part: Part) -> Path:
        """Keep a part that no recording asks for any more, where a person finds it."""
        root = self.storage.local_path(RECOVERED) or self._parts.parent / RECOVERED
        target = root / part.recording_id / part.path.name.removesuffix(".part")
        in_folder(target.parent, lambda: part.path.replace(target))
        part.note.unlink(missing_ok=True)
        return target

    # Finishing

    async def finish(
        self, part: Part, key: PurePosixPath, tell: Callable[[Artifact], SegmentCompleted]
    ) -> SegmentCompleted:
        """Sync a part, note the event ``tell`` makes of its artifact, and give it its name (or another one, if that is taken)."""
        size, sha256 = await asyncio.to_thread(self._sync, part.path)
        for copy in range(1, MAX_COPIES):
            candidate = _numbered(key, copy)
            if await self._taken(candidate):
                continue
            artifact = Artifact(
                uri=self.storage.uri(candidate), media_type=MEDIA_TYPES[part.extension], size=size, sha256=sha256
            )
            event = tell(artifact)
            await asyncio.to_thread(_write_durably, part.note, event.to_json())
            if await self._place(part, candidate):
                return event
        raise FileExistsError(errno.EEXIST, "no free name", str(key))

    async def finished(self, part: Part) -> SegmentCompleted | None:
        """The event of a part that was given its name before its owner was lost; ``None`` when that did not happen."""
        try:
            event = SegmentCompleted.from_json(await asyncio.to_thread(part.note.read_bytes))
            stat = await self.storage.stat(self.storage.key(event.artifact.uri))
        except (FileNotFoundError, UnsafePath, ValidationError):
            return None
        if stat.size != event.artifact.size or not await asyncio.to_thread(self._same, part, event):
            return None
        await asyncio.to_thread(part.path.unlink, missing_ok=True)
        return event

    def _same(self, part: Part, event: SegmentCompleted) -> bool:
        """Whether the finished file is this part: a name may have been taken by somebody else's file of the same size."""
        target = self.storage.local_path(self.storage.key(event.artifact.uri))
        return target is None or not part.path.exists() or part.path.samefile(target)

    async def _taken(self, key: str) -> bool:
        try:
            await self.storage.stat(key)
        except FileNotFoundError:
            return False
        return True

    async def _place(self, part: Part, key: str) -> bool:
        target = self.storage.local_path(key)
        if target is None:
            await self.storage.put_file(part.path, key, move=True)
            return True
        try:
            return await asyncio.to_thread(_rename, part.path, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        await self.storage.put_file(part.path, key, move=True)
        return True

    def _sync(self, path: Path) -> tuple[int, str]:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
            # Indexes are patched in place, so the hash is taken when nothing changes any more; the file is still in memory then.
            return size, hashlib.file_digest(file, "sha256").hexdigest() if size <= self._hash_max_bytes else ""

    def _home(self, recording_id: str) -> Path:
        if not _RECORDING.match(recording_id):
            raise ValueError(f"{recording_id!r} is no id")
        return self._parts / recording_id


class Session:
    """The parts that one owner (one epoch) of a recording opens: files of its folder, or such as go into a bucket at once."""

    def __init__(
        self, folder: Folder, recording_id: str, epoch: int, streamed: Callable[[], StreamedFile] | None = None
    ) -> None:
        self._folder, self._recording_id, self._epoch, self._streamed = folder, recording_id, epoch, streamed
        self._parts: dict[int, Part] = {}
        self._files: dict[int, BinaryIO] = {}
        self._streams: dict[int, Streaming] = {}
        self._finished: set[int] = set()
        self._cursors: deque[Json] = deque(maxlen=10_000)

    def open(self, index: int, extension: str) -> BinaryIO:
        """Begin a part; the recorder closes it."""
        if self._streamed is not None:
            part = self._folder.part(self._recording_id, self._epoch, index, extension)
            file = cast(BinaryIO, self._streamed())
        else:
            opened = self._folder.open(self._recording_id, self._epoch, index, extension)
            part, file = opened.part, cast(BinaryIO, opened)
        self._parts[index], self._files[index] = part, file
        return file

    def part(self, index: int) -> Part:
        """The part with a number."""
        return self._parts[index]

    def stream(self, index: int, bucket: S3Multipart) -> Streaming:
        """How a part goes into the bucket."""
        found = self._streams.get(index)
        if found is None:
            file = cast(StreamedFile, self._files[index])
            found = self._streams[index] = Streaming(file, bucket, lambda size: self._cursor_at(index, size))
        return found

    def forget(self, index: int) -> None:
        """The part is finished."""
        self._parts.pop(index, None)
        self._files.pop(index, None)
        self._streams.pop(index, None)
        self._finished.add(index)

    def keep_cursor(self, cursor: Json) -> None:
        """See `Folder.keep_cursor`; of what is streamed the place in the bucket counts. Called from the writing thread."""
        if self._streamed is None:
            self._folder.keep_cursor(self._recording_id, self._epoch, cursor)
        else:
            self._cursors.append(cursor)

    def durable(self, cursor: Json | None) -> Json | None:
        """How far a playlist is written where another owner finds it."""
        if self._streamed is None:
            return cursor
        return next((one for one in reversed(list(self._cursors)) if self._is_durable(one)), None)

    def _is_durable(self, cursor: Json) -> bool:
        index = cursor.get("index")
        if index in self._finished:
            return True
        stream = self._streams.get(index) if isinstance(index, int) else None
        return stream is not None and int(cursor.get("bytes", 0)) <= stream.durable

    def _cursor_at(self, index: int, size: int) -> Json | None:
        def is_there(one: Json) -> bool:
            return bool(one) and (one["index"] < index or (one["index"] == index and one["bytes"] <= size))

        return next((one for one in reversed(list(self._cursors)) if is_there(one)), None)

    async def stop_streams(self) -> None:
        """Send nothing more: what is in the bucket is the next owner's."""
        for stream in list(self._streams.values()):
            await stream.stop()

    def close(self) -> None:
        """Close what is still open and leave it as it is."""
        for file in self._files.values():
            file.close()


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where there is none, also when another replica that shares the disk removes it in this moment."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _parse(path: Path, recording_id: str) -> Part | None:
    match = _PART.match(path.name)
    if match is None:
        return None
    created_at = datetime.fromtimestamp(int(match["ms"]) / 1000, UTC)
    return Part(path, recording_id, int(match["index"]), int(match["epoch"]), match["ext"], created_at)


def _numbered(key: PurePosixPath, copy: int) -> str:
    return str(key if copy == 1 else key.with_name(f"{key.stem} ({copy}){key.suffix}"))


def _rename(source: Path, target: Path) -> bool:
    """Give a file a name that nobody has; False when somebody has it. The name survives a power cut."""
    try:
        in_folder(target.parent, lambda: os.link(source, target))
        source.unlink(missing_ok=True)  # whoever finds both names removes this one
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            in_folder(target.parent, lambda: target.open("xb").close())
        except FileExistsError:
            return False
        source.replace(target)
    _sync_folder(target.parent)
    return True


def _write_durably(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".writing")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

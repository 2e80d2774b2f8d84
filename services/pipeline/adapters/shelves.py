"""The folders and buckets that files may be removed from."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from chassis.storage import LocalStorage, Storage, StorageOptions, UnsafePath
from contracts.values import Artifact


class Shelves:
    """Nothing outside of ``roots`` is ever looked at or removed. Raises OSError where a store does not answer."""

    def __init__(self, roots: Sequence[str], options: StorageOptions) -> None:
        self._roots = [Storage.from_uri(root, options) for root in roots]

    async def find(self, file: Artifact) -> Artifact | None:
        """The file as it lies here now, with its size; ``None`` when it is not here, or not ours to remove.

        What lies in a bucket is believed: every replica sees the same bucket, and a question for each file of each session would cost.
        """
        place = self._place(file.uri)
        if place is None:
            return None
        storage, key = place
        if storage.local_path(key) is None:
            return file
        try:
            stat = await storage.stat(key)
        except FileNotFoundError:
            return None
        return file.model_copy(update={"size": stat.size})

    async def remove(self, uri: str) -> None:
        """Remove a file, and the folders it leaves empty."""
        place = self._place(uri)
        if place is None:
            return
        storage, key = place
        await storage.delete(key)
        path = storage.local_path(key)
        if path is not None and isinstance(storage, LocalStorage):
            await asyncio.to_thread(_remove_empty, path.parent, _root_of(path, key))

    async def free_bytes(self) -> int | None:
        """Free space of the fullest disk that a root lies on; ``None`` when all of them are buckets, or not there."""
        free = [await asyncio.to_thread(_free, root) for root in self._roots if isinstance(root, LocalStorage)]
        return min((one for one in free if one is not None), default=None)

    def _place(self, uri: str) -> tuple[Storage, str] | None:
        for root in self._roots:
            with suppress(UnsafePath):
                key = root.key(uri)
                root.local_path(key)
                return root, key
        return None


def _root_of(path: Path, key: str) -> Path:
    return path.parents[key.count("/")]


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and folder.is_relative_to(root):
        try:
            folder.rmdir()
        except OSError:  # something else is in it
            return
        folder = folder.parent


def _free(root: LocalStorage) -> int | None:
    folder = root.local_path("x").parent
    return shutil.disk_usage(folder).free if folder.is_dir() else None

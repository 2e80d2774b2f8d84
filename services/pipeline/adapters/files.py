"""Artifacts as files: which store an address belongs to, where outputs go, checksums, media types."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from chassis.storage import Storage, StorageOptions, UnsafePath

_CHUNK = 1 << 20
_MEDIA_TYPES = {
    ".flv": "video/x-flv",
    ".ts": "video/mp2t",
    ".mkv": "video/x-matroska",
    ".m4s": "video/iso.segment",
    ".ass": "text/x-ssa",
    ".srt": "application/x-subrip",
    ".gz": "application/gzip",
}


class Files:
    """The stores this replica reads and writes. ``storage_uri``: where outputs go, empty for beside their input."""

    def __init__(self, options: StorageOptions, *, storage_uri: str = "", roots: Sequence[str] = ()) -> None:
        self.options = options
        self._storage = Storage.from_uri(storage_uri, options) if storage_uri else None
        self._roots = [Storage.from_uri(root, options) for root in roots]
        if self._storage is not None:
            self._roots.append(self._storage)

    def open(self, uri: str) -> tuple[Storage, str]:
        """The store a file lies in and its key there; raises ValueError for an address that is none."""
        folder = uri.rpartition("/")[0]
        storage = Storage.from_uri("file:///" if folder == "file://" else folder, self.options)
        return storage, storage.key(uri)

    def home_of(self, uri: str, session_id: str) -> tuple[Storage, str]:
        """The store and the folder in it (empty for its root) that outputs made from a file go to."""
        if self._storage is None:
            return self.open(uri)[0], ""
        try:
            return self._storage, self._storage.key(uri).rpartition("/")[0]
        except UnsafePath:
            return self._storage, session_id

    def permitted(self, uri: str) -> bool:
        """Whether a file lies below one of the roots, links followed."""
        return any(_lies_below(root, uri) for root in self._roots)


def suffix_of(uri: str) -> str:
    """The extension at the end of an address, in lower case with its dot."""
    return Path(unquote(urlsplit(uri).path)).suffix.lower()


def media_type_of(name: str) -> str:
    """The media type by the extension of a name."""
    known = _MEDIA_TYPES.get(Path(name).suffix.lower())
    return known or mimetypes.guess_type(name, strict=False)[0] or "application/octet-stream"


def sha256_of(path: Path) -> str:
    """The checksum of a local file in hex. Reads all of it: call it in a thread."""
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while piece := content.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


async def sha256_at(storage: Storage, key: str) -> str:
    """The checksum of a stored file in hex, read back from where it lies."""
    digest = hashlib.sha256()
    async for piece in storage.read(key, chunk=_CHUNK):
        digest.update(piece)
    return digest.hexdigest()


def _lies_below(root: Storage, uri: str) -> bool:
    try:
        root.local_path(root.key(uri))
    except ValueError:
        return False
    return True

"""One owner per data folder: two supervisors on the same folder would stop each other's engines."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from deploy.embedded.process import EngineError

LOCK_NAME = "owner.lock"


class FolderLock:
    """An exclusive lock on a folder, held by this process until `release()` or its death.

    A POSIX record lock: services forked from the holder do not inherit it, so one that outlives a killed supervisor
    does not keep the next one out. Source: fcntl_locking(2).
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Take the lock, or raise EngineError when another process holds it."""
        if self._file is not None:
            return
        file = self._path.open("ab")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise EngineError(f"{self._path.parent} is in use by another running process") from error
        self._file = file

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None

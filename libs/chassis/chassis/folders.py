"""Writing into folders that others, who share the disk, remove as soon as they are empty."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

ATTEMPTS: Final = 50
"""Each fails only if the folder is removed between two system calls of ours; so often in a row it does not happen by chance."""
R = TypeVar("R")


def in_folder(folder: Path, act: Callable[[], R]) -> R:
    """Make a folder where it is missing and do ``act``, which puts something into it; both again when it was removed in between.

    Raises what ``act`` and the disk raise; FileNotFoundError when something else than the folder is missing, NotADirectoryError when a file
    has its name.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            _make(folder)
            return act()
        except FileNotFoundError:
            continue
    _make(folder)
    return act()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        # Either it was there and is gone again, or a file has its name.
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None

"""The folder that media is written to: whether it is there, can be written, and how much room it has."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from chassis.folders import in_folder

from services.downloader.space import Seen

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Place:
    """``parts`` is where files are written, ``root`` where finished ones lie (both on one disk, or the root is a bucket and ``None``).

    With ``marker``, a file of this name must be in the root: the folder of a volume that is not mounted does not have it, and nothing is
    written into it by mistake.
    """

    def __init__(self, parts: Path, root: Path | None, marker: str = "") -> None:
        self._parts, self._root, self._marker = parts, root, marker

    def look(self) -> Seen:
        """Look at the folder and write a byte. Never raises: what is wrong is in ``reason``."""
        try:
            self._check_marker()
            # Another replica removes the folder when a recording ends.
            full = in_folder(self._parts, self._write)
            usage = in_folder(self._parts, lambda: shutil.disk_usage(self._parts))
        except OSError as error:
            return Seen(reason=f"the folder for recordings cannot be used: {error.strerror or type(error).__name__}")
        return Seen(0 if full else usage.free, usage.total)

    def _check_marker(self) -> None:
        if self._marker and not ((self._root or self._parts.parent) / self._marker).is_file():
            raise OSError(errno.ENOENT, f"the marker {self._marker} is not in it; is the volume mounted?")

    def _write(self) -> bool:
        """Whether the disk had no room even for a byte; raises OSError when it cannot be written for another reason."""
        probe = self._parts / f".probe-{os.getpid()}-{id(self):x}"
        try:
            probe.write_bytes(b".")
        except OSError as error:
            if error.errno in _FULL:
                return True
            raise
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
        return False

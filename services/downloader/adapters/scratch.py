"""Buffers to receive into: one for all connections of a thread, and no copy of what fills most of it."""

from __future__ import annotations

import threading
from typing import Final

SIZE: Final = 512 << 10
"""A socket rarely holds more, and one read of it costs what eight of 64 KiB would."""
LARGE: Final = SIZE // 4
"""From here on a buffer is handed over as it is; less is copied out, or a few kilobytes would keep a whole buffer."""
MOST: Final = 4
"""Buffers that are handed over at a time. When so many are in use there are many sources, and none of them is in a hurry."""


class Scratch(threading.local):
    """The buffer that the next read goes to. It is only borrowed between a read and :meth:`take`, so that any number of connections share it.

    A view that :meth:`take` gives never changes: its buffer is received into again when nobody holds a view of it any more.
    """

    def __init__(self) -> None:
        self._buffer = bytearray(SIZE)
        self._lent: list[bytearray] = []

    @property
    def view(self) -> memoryview:
        """Where to receive."""
        return memoryview(self._buffer)

    def take(self, parts: list[memoryview]) -> bytes | memoryview:
        """Keep what was received: ``parts`` of :attr:`view`, which counts for nothing afterwards."""
        if len(parts) == 1 and len(parts[0]) >= LARGE and (spare := self._spare()) is not None:
            self._lent.append(self._buffer)
            self._buffer = spare
            return parts[0].toreadonly()
        return b"".join(parts)

    def _spare(self) -> bytearray | None:
        for at, buffer in enumerate(self._lent):
            if _is_free(buffer):
                return self._lent.pop(at)
        return bytearray(SIZE) if len(self._lent) < MOST else None


def _is_free(buffer: bytearray) -> bool:
    """Whether no view of a buffer exists: only then its size may change."""
    try:
        buffer.append(0)
    except BufferError:
        return False
    del buffer[-1]
    return True

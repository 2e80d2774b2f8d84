"""Bytes that wait: in unnamed files, or in memory where there is no disk. They vanish with the process."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

BLOCK_BYTES = 16 << 20


@dataclass(slots=True)
class _Block:
    file: BinaryIO
    size: int = 0
    refs: int = 0


@dataclass(frozen=True, slots=True)
class Ref:
    """Where one piece lies."""

    block: _Block = field(repr=False)
    offset: int
    size: int


class Spill:
    """Pieces are dropped in about the order they came; room is given back by blocks of 16 MiB. Raises OSError for what the disk refuses."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._block: _Block | None = None
        self.size = 0
        """Bytes of the pieces that are still wanted."""

    def put(self, data: bytes | bytearray) -> Ref:
        """Keep a piece."""
        block = self._block
        if block is None or block.size + len(data) > BLOCK_BYTES:
            if block is not None and not block.refs:
                block.file.close()
            block = self._block = _Block(self._open())
        ref = Ref(block, block.size, len(data))
        block.file.seek(block.size)
        block.file.write(data)
        block.size += len(data)
        block.refs += 1
        self.size += len(data)
        return ref

    def take(self, ref: Ref) -> bytes:
        """Read a piece for the last time."""
        ref.block.file.seek(ref.offset)
        data = ref.block.file.read(ref.size)
        self.drop(ref)
        return data

    def drop(self, ref: Ref) -> None:
        """A piece is not wanted any more."""
        self.size -= ref.size
        ref.block.refs -= 1
        if not ref.block.refs and ref.block is not self._block:
            ref.block.file.close()

    def close(self) -> None:
        """No further piece comes."""
        block, self._block = self._block, None
        if block is not None and not block.refs:
            block.file.close()

    def _open(self) -> BinaryIO:
        if self._folder is None:
            return io.BytesIO()
        self._folder.mkdir(parents=True, exist_ok=True)
        return cast(BinaryIO, tempfile.TemporaryFile(dir=self._folder))

"""Files that are opened in a thread, because a disk may be slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import IO, TypeVar

File = TypeVar("File", bound=IO[bytes])


@asynccontextmanager
async def opened(open_it: Callable[[], File]) -> AsyncIterator[File]:
    """The file that ``open_it`` opens in a thread, until the end of the block. Raises what opening it raises.

    No thread can be cancelled: who is cancelled while one opens a file leaves when it is closed again.
    """
    opening = asyncio.get_running_loop().run_in_executor(None, open_it)
    try:
        file = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        await asyncio.wait({opening})
        raise
    with file:
        yield file


def _close(opening: asyncio.Future[File]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()

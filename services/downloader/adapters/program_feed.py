"""What every program that plays a source for us has in common: its bytes with a time limit, and its last words without addresses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from chassis.programs import Running

from services.downloader.adapters.engine import SourceFailed

READ_BYTES = 1 << 16
_SECRET = re.compile(r"://|@|passphrase|streamid|token|cookie", re.IGNORECASE)


async def bytes_of(program: Running, start_s: float, stall_s: float) -> AsyncIterator[bytes]:
    """The standard output of a program to its end; raises SourceFailed when nothing comes for so long, at the start and later."""
    patience_s = start_s
    while True:
        try:
            async with asyncio.timeout(patience_s):
                data = await program.output.read(READ_BYTES)
        except TimeoutError:
            raise SourceFailed("no data in time") from None
        if not data:
            return
        patience_s = stall_s
        yield data


def spoken(complaints: str) -> str:
    """The last line that a program said, fit for an event: no address, nothing that may be a secret, one line."""
    lines = [line.strip() for line in complaints.splitlines() if line.strip()]
    words = lines[-1].split() if lines else []
    return " ".join("…" if _SECRET.search(word) else word for word in words)[:200] or "it said nothing"

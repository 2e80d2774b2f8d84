"""Waiting for an event with a deadline."""

from __future__ import annotations

import asyncio


async def wait_for_event(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait until ``event`` is set, at most ``timeout_s`` seconds; says whether it was set.

    ``asyncio.wait_for`` of Python 3.11 drops a cancellation that arrives together with the event, and its task then lives on.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True

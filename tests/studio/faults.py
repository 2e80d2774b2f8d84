"""The faults of one room that last: what is on now, and what each request or chunk has to suffer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from .options import Fault


@dataclass
class _Refusals:
    fault: Fault
    left: int


class Faults:
    """Stall, refusals and rate limit of a room; the one-shot faults are carried out by the room itself."""

    def __init__(self) -> None:
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._resume: asyncio.TimerHandle | None = None
        self._refusals: list[_Refusals] = []
        self.bytes_per_s: int | None = None

    def stall(self, seconds: float | None) -> None:
        """Hold back all media bytes, for `seconds` or until cleared."""
        self.resume()
        self._flowing.clear()
        if seconds is not None:
            self._resume = asyncio.get_running_loop().call_later(seconds, self.resume)

    def resume(self) -> None:
        """Let media flow again."""
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None
        self._flowing.set()

    def refuse(self, fault: Fault) -> None:
        """Answer the next `fault.n` requests of its target with its status."""
        self._refusals.append(_Refusals(fault, fault.n))

    def refusal_for(self, target: str, cdn: str | None) -> int | None:
        """The status that this request (target flv, hls or api) must be refused with, using up one; None to serve it."""
        for refusals in self._refusals:
            fault = refusals.fault
            hit = fault.target == target or (fault.target == "media" and target in {"flv", "hls"})
            if hit and (fault.cdn is None or fault.cdn == cdn):
                refusals.left -= 1
                self._refusals = [one for one in self._refusals if one.left > 0]
                return fault.status
        return None

    async def pass_through(self) -> None:
        """Return when media may flow."""
        await self._flowing.wait()

    def active(self) -> list[dict[str, Any]]:
        """What is on, as the control API lists it."""
        found: list[dict[str, Any]] = []
        if not self._flowing.is_set():
            found.append({"kind": "stall"})
        if self.bytes_per_s is not None:
            found.append({"kind": "slow_body", "bytes_per_s": self.bytes_per_s})
        for one in self._refusals:
            fault = one.fault
            found.append(
                {"kind": "status", "status": fault.status, "target": fault.target, "cdn": fault.cdn, "left": one.left}
            )
        return found

    def clear(self, kind: str | None = None) -> None:
        """Clear the lasting faults: all, or those of one kind."""
        if kind in {None, "stall"}:
            self.resume()
        if kind in {None, "slow_body"}:
            self.bytes_per_s = None
        if kind in {None, "status"}:
            self._refusals = []

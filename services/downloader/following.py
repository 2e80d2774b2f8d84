"""Keeps a running recording to what is asked of it: stop, cut, another title, other settings."""

from __future__ import annotations

import asyncio

import structlog

from services.downloader.adapters.capture import Capture, Ended
from services.downloader.adapters.engine import Bounds
from services.downloader.domain import Recording
from services.downloader.facts import Facts
from services.downloader.journal import Journal
from services.downloader.splitting import REASONS, SETTINGS, Splits, bounds_of
from services.downloader.store import Asked

log = structlog.get_logger(__name__)


class Following:
    """A listener of :class:`~services.downloader.requests.Requests`: a stop is obeyed at once, for the rest the log is read again.

    Cuts asked before this owner came are done by its new file.
    """

    def __init__(self, capture: Capture, journal: Journal, facts: Facts, splits: Splits, bounds: Bounds) -> None:
        self._capture, self._journal, self._facts = capture, journal, facts
        self._splits, self._bounds = splits, bounds
        self._cuts, self._changes = journal.state.cuts, -1
        self._news = asyncio.Event()

    def __call__(self, asked: Asked) -> None:
        """Take what is asked now."""
        if asked.stop:
            self._capture.stop(Ended(None))
        if asked.changes != self._changes:
            self._changes = asked.changes
            self._news.set()

    async def run(self) -> None:
        """Follow for ever; raises LeaseLost."""
        while True:
            await self._news.wait()
            self._news.clear()
            self._obey(await self._journal.load())

    def cut(self, reason: str) -> None:
        """Begin a new file at the next keyframe."""
        self._splits.asked(reason)
        self._capture.cut()

    def _obey(self, state: Recording) -> None:
        if state.request is None:
            return
        before, self._facts.request = self._facts.request, state.request
        if state.request.effective != before.effective:
            log.info("recording.reconfigured")
            self._rebound(bounds_of(state.request.effective))
            self._capture.reconfigure(state.request.effective)
        if state.cuts > self._cuts:
            self._cuts = state.cuts
            self.cut(REASONS[state.cut_cause])

    def _rebound(self, wanted: Bounds) -> None:
        """Other limits begin with a new file: one without limits would otherwise never meet them."""
        bounds = self._bounds
        if wanted != bounds:
            bounds.max_duration_ms, bounds.max_bytes = wanted.max_duration_ms, wanted.max_bytes
            self.cut(SETTINGS)

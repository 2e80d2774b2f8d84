"""The beginning of a recording: whether the broadcast is still there, and whether its engine gets it to run."""

from __future__ import annotations

from contracts.values import Effective, EngineName, Source

from services.downloader.adapters.capture import Sources
from services.downloader.adapters.engine import Emit, EngineEvent, SegmentOpened, SourceFailed
from services.downloader.adapters.network import host_of
from services.downloader.breaker import Breakers, key_of
from services.downloader.facts import Facts


class Beginning:
    """Stands before the sources of a recording that begins.

    With ``ask``, the first choice is made of a new answer of the monitor, however fresh the last one is. Failures before the first media
    count for the breaker of its engine, unless they are the source's own: an address that is refused, or a stream that was over.
    """

    def __init__(self, sources: Sources, breakers: Breakers, facts: Facts, *, ask: bool) -> None:
        self._sources, self._breakers, self._ask = sources, breakers, ask
        self._effective, self._streamer = facts.request.effective, facts.request.streamer_id
        self._key = key_of(self._effective)
        self._flows = False

    async def choose(self, *, refresh: bool) -> Source:
        """See `Sources`."""
        chosen = await self._sources.choose(refresh=refresh or self._ask)
        self._ask = False
        return chosen

    def failed(self, source: Source, failure: SourceFailed) -> None:
        """See `Sources`."""
        if not self._flows and not failure.over and not 400 <= (failure.status or 0) < 500:
            self._breakers.failed(self._key, self._origin(source))
        self._sources.failed(source, failure)

    def worked(self, source: Source) -> None:
        """See `Sources`."""
        self.flows()
        self._sources.worked(source)

    def reconfigure(self, effective: Effective) -> None:
        """See `Sources`."""
        self._sources.reconfigure(effective)

    def flows(self) -> None:
        """There is media."""
        if not self._flows:
            self._flows = True
            self._breakers.worked(self._key)

    def tells(self, emit: Emit) -> Emit:
        """Notice the first file on its way to ``emit``."""

        def tell(event: EngineEvent) -> None:
            if isinstance(event, SegmentOpened):
                self.flows()
            emit(event)

        return tell

    def _origin(self, source: Source) -> str:
        """Our own engine fails with its server, another program with what it was asked for."""
        native = self._effective.engine is EngineName.NATIVE
        return host_of(source.url) or self._streamer if native else self._streamer

"""Before a recording that waited begins: whether the broadcast is still there."""

from __future__ import annotations

from contracts.values import Source

from services.downloader.adapters.capture import Sources
from services.downloader.adapters.engine import SourceFailed


class AskedAnew:
    """Sources whose first choice is made of a new answer of the monitor, however fresh the last one is. Raises what they raise."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._asked = False

    async def choose(self, *, refresh: bool) -> Source:
        """See `Sources`."""
        chosen = await self._sources.choose(refresh=refresh or not self._asked)
        self._asked = True
        return chosen

    def failed(self, source: Source, failure: SourceFailed) -> None:
        """See `Sources`."""
        self._sources.failed(source, failure)

    def worked(self, source: Source) -> None:
        """See `Sources`."""
        self._sources.worked(source)

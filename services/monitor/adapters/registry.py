"""Which adapter answers for which address: the built-in ones and those of installed packages, in one order.

A package of your own adds a platform with a class that `@adapter(order=…)` decorates and two lines of its metadata:

    [project.entry-points."aircheck.platforms"]
    mine = "my_package.my_module:MyAdapter"
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import isawaitable
from typing import Protocol, TypeVar

from chassis.egress import EgressPolicy
from contracts.values import EngineName

from services.monitor.adapters.platform import PlatformAdapter, UnsupportedUrl

ENTRY_POINT_GROUP = "aircheck.platforms"
_BUILT_IN_MODULES = tuple(
    f"services.monitor.adapters.{name}" for name in ("bilibili", "direct", "dialled", "streamlink", "ytdlp")
)

MAX_REMEMBERED = 10_000
"""Pages of which is remembered who knows them, so that the others are not asked at each check."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AdapterOptions:
    """What adapters are configured from; `platforms` holds one adapter's own settings under its name, `ffmpeg` is the packaged one if empty."""

    policy: EgressPolicy
    timeout_seconds: float = 20.0
    platforms: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ffmpeg: str = ""

    def of(self, name: str) -> Mapping[str, str]:
        """The settings of one adapter."""
        return self.platforms.get(name, {})


class AdapterClass(Protocol):
    """What `@adapter` decorates and what an entry point of the group `aircheck.platforms` names."""

    @classmethod
    def configured(cls, options: AdapterOptions) -> PlatformAdapter:
        """Make the adapter from the installation's options."""
        ...


Registered = TypeVar("Registered", bound=type)
_registered: dict[type, int] = {}


def adapter(order: int) -> Callable[[Registered], Registered]:
    """Register a class as an adapter; a lower `order` is asked first. Third parties: below 50 to precede Streamlink and yt-dlp."""

    def register(decorated: Registered) -> Registered:
        _registered[decorated] = order
        return decorated

    return register


class Registry:
    """The adapters of this process, in the order in which they are asked."""

    def __init__(self, adapters: Iterable[PlatformAdapter], failures: Iterable[str] = ()) -> None:
        self.adapters = tuple(adapters)
        self.failures = tuple(failures)
        self._known: OrderedDict[str, PlatformAdapter] = OrderedDict()

    def find(self, url: str) -> PlatformAdapter:
        """The first adapter that understands `url`; raises `UnsupportedUrl`."""
        return self.candidates(url)[0]

    def candidates(self, url: str, engine: EngineName = EngineName.NATIVE) -> Sequence[PlatformAdapter]:
        """Who is asked about `url`, one after the other until one knows the site; raises `UnsupportedUrl` where nobody understands it.

        Where the engine that records a page brings an adapter of its own, that one alone; otherwise who was found to know the site before.
        An address that names media has no page that anybody would have to read.
        """
        matching = [candidate for candidate in self.adapters if candidate.matches(url)]
        if not matching:
            raise UnsupportedUrl(
                "no adapter understands this address; give the http(s) address of a channel or a stream"
            )
        own = [one for one in matching if getattr(one, "engine", None) is engine]
        if own and not getattr(matching[0], "names_media", False):
            return own
        known = self._known.get(url)
        return matching if known is None else [known]

    def disturbs(self, url: str) -> bool:
        """Whether asking about `url` may take the place of who receives it."""
        return any(getattr(candidate, "disturbs", False) for candidate in self.adapters if candidate.matches(url))

    def remember(self, url: str, knows: PlatformAdapter) -> None:
        """This adapter knows the site of `url`, and who is asked before it does not."""
        self._known.pop(url, None)
        self._known[url] = knows
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    async def close(self) -> None:
        """Give back what adapters hold (threads, processes); those that hold nothing have no `close`."""
        for candidate in self.adapters:
            close = getattr(candidate, "close", None)
            ending = close() if close is not None else None
            if isawaitable(ending):
                await ending


def load_adapters(options: AdapterOptions) -> Registry:
    """Every built-in adapter and every installed third-party one; a third party that does not load is reported only."""
    for module in _BUILT_IN_MODULES:
        import_module(module)
    failures = [failure for point in entry_points(group=ENTRY_POINT_GROUP) if (failure := _load(point))]
    classes: list[type] = sorted(_registered, key=lambda found: _registered[found])
    adapters: list[PlatformAdapter] = []
    for found in classes:
        try:
            adapters.append(_configured(found, options))
        except Exception as error:
            if found.__module__ in _BUILT_IN_MODULES:
                raise
            failures.append(_report(f"{found.__module__}.{found.__qualname__}", error))
    return Registry(adapters, failures)


def _load(point: EntryPoint) -> str | None:
    try:
        loaded = point.load()
        if loaded not in _registered:
            raise TypeError("the entry point does not name a class decorated with @adapter")
    except Exception as error:  # another package's code: it may fail in any way, and must not take the monitor with it
        return _report(point.value, error)
    return None


def _configured(found: AdapterClass | type, options: AdapterOptions) -> PlatformAdapter:
    made = found.configured(options)  # type: ignore[union-attr]  # a class without it is reported like any other failure
    if not isinstance(made, PlatformAdapter):
        raise TypeError("configured() did not return a platform adapter")
    return made


def _report(name: str, error: Exception) -> str:
    log.error("platform adapter %s was left out: %s", name, error)
    return f"{name}: {error}"

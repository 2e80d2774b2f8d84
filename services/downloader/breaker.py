"""A circuit breaker for each engine and configuration: what fails to start again and again is left alone for a while; pure."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from contracts import downloader
from contracts.values import Effective

NEEDED_ORIGINS = 2
"""Failures must come from this many places: one dead source says nothing about the engine."""


@dataclass(frozen=True, slots=True)
class Policy:
    """After ``failures`` failures in a row nothing more begins for ``cool_down_s``; then one recording tries."""

    failures: int = 5
    cool_down_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """Closed while ``opened_at`` is None; half open while one recording tries (``probing``)."""

    failures: int = 0
    origins: frozenset[str] = frozenset()
    opened_at: float | None = None
    probing: bool = False


def after_failure(state: Breaker, origin: str, now: float, policy: Policy) -> Breaker:
    """A start failed, at ``origin``."""
    if state.probing:
        return replace(state, opened_at=now, probing=False)
    if state.opened_at is not None:
        return state
    failed = replace(state, failures=state.failures + 1, origins=frozenset([*state.origins, origin][:100]))
    if failed.failures >= policy.failures and len(failed.origins) >= NEEDED_ORIGINS:
        return replace(failed, opened_at=now)
    return failed


def wait_s(state: Breaker, now: float, policy: Policy) -> float:
    """Seconds until a recording may begin; 0 when it may now."""
    if state.opened_at is None:
        return 0.0
    left = state.opened_at + policy.cool_down_s - now
    if left > 0:
        return left
    return policy.cool_down_s / 4 if state.probing else 0.0


@dataclass(frozen=True, slots=True)
class Key:
    """An engine with its configuration; the fingerprint tells configurations apart and shows nothing of them."""

    engine: str
    fingerprint: str


def key_of(effective: Effective) -> Key:
    """The breaker that a recording belongs to."""
    given = effective.model_dump(mode="json", include={"engine", "engine_options", "network"})
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()
    return Key(effective.engine.value, digest[:12])


class Breakers:
    """The breakers of one replica: what its engines meet is often its own (a missing program, its line, its proxy)."""

    def __init__(self, policy: Policy, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy, self._clock = policy, clock
        self._known: dict[Key, Breaker] = {}

    def admit(self, key: Key) -> float:
        """0 when a recording may begin now: then its outcome has to be told. Else the seconds to wait."""
        state = self._known.get(key, Breaker())
        wait = wait_s(state, self._clock(), self._policy)
        if wait == 0 and state.opened_at is not None:
            self._known[key] = replace(state, probing=True)
        return wait

    def failed(self, key: Key, origin: str) -> None:
        """A recording that was admitted could not begin."""
        self._known[key] = after_failure(self._known.get(key, Breaker()), origin, self._clock(), self._policy)

    def worked(self, key: Key) -> None:
        """A recording has media."""
        self._known.pop(key, None)

    def left(self, key: Key) -> None:
        """A recording ended without telling anything about its engine: if it was to try, another one shall."""
        state = self._known.get(key)
        if state is not None and state.probing:
            self._known[key] = replace(state, probing=False)

    def told(self) -> tuple[downloader.Breaker, ...]:
        """Those that are not closed."""
        now = self._clock()
        return tuple(
            downloader.Breaker(
                engine=key.engine,
                fingerprint=key.fingerprint,
                state="half_open" if state.probing else "open",
                wait_s=round(max(state.opened_at + self._policy.cool_down_s - now, 0.0), 1),
            )
            for key, state in self._known.items()
            if state.opened_at is not None
        )

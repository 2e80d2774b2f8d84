"""What several tests of the contracts need."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from contracts.registry import Registry, load_vocabulary


def subject_matches(pattern: str, subject: str) -> bool:
    """Wildcards as the NATS documentation defines them: ``*`` is exactly one token, ``>`` is one or more at the end."""
    wanted, given = pattern.split("."), subject.split(".")
    for place, token in enumerate(wanted):
        if token == ">":
            return place == len(wanted) - 1 and len(given) > place
        if place >= len(given) or token not in ("*", given[place]):
            return False
    return len(wanted) == len(given)


@pytest.fixture(scope="session")
def matches() -> Callable[[str, str], bool]:
    return subject_matches


@pytest.fixture(scope="session")
def vocabulary() -> Registry:
    return load_vocabulary()


@pytest.fixture
def private_registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry that takes the classes a test declares, so that the real vocabulary stays what it is."""
    registry = Registry()
    monkeypatch.setattr("contracts.registry.REGISTRY", registry)
    return registry

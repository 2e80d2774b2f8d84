"""The seeds of the fuzz targets, and what fuzzing found, as ordinary tests."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.__main__ import NAMES, SEEDS
from tests.fuzz.targets import TARGETS

INPUTS = sorted(path for path in SEEDS.glob("*/*") if path.is_file())


def test_every_target_has_seeds_and_every_seed_a_target():
    assert set(NAMES) == set(TARGETS) == {path.parent.name for path in INPUTS}


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_seed_passes_its_target(path):
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_damaged_seed_passes_its_target(path):
    chance = random.Random(path.name)
    for _ in range(20):
        data = bytearray(path.read_bytes())
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        start = chance.randrange(len(data))
        del data[start : start + chance.randrange(40)]
        TARGETS[path.parent.name](bytes(data))

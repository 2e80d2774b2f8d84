"""A data folder as unpleasant as real ones: private, long, with a space in its name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="aircheck engines "))
    deep = parent / ("a long name " * 12).strip()
    deep.mkdir()
    yield deep
    shutil.rmtree(parent)

"""A running studio and an HTTP client for its tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.deadline import DEADLINE_S
from tests.studio import Studio


@pytest.fixture
async def studio() -> AsyncIterator[Studio]:
    async with Studio() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2 * DEADLINE_S)) as session:
        yield session

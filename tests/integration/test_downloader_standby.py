"""What a replica tells others of itself: an owner that has to leave asks only those who are known to have room."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.downloader.app import build
from services.downloader.handovers import Handovers
from tests.integration.downloader_rig import outside, settings
from tests.integration.harness import running

pytestmark = pytest.mark.engines


@pytest.mark.parametrize(("min_free_mb", "known"), [(0, True), (10**9, False)], ids=["room", "full disk"])
async def test_a_replica_that_says_it_is_ready_is_known_to_others_as_it_is(
    nats_url: str, postgres_dsn: str, tmp_path: Path, min_free_mb: int, known: bool
) -> None:
    given = settings(nats_url, postgres_dsn, tmp_path, min_free_mb=min_free_mb, worker="new")
    async with outside(nats_url), running(build(given)) as service:
        assert service.health.ready
        assert await Handovers(service.pool, "owner").others_are_free() is known


async def test_a_replica_that_ends_is_known_no_more(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    given = settings(nats_url, postgres_dsn, tmp_path, worker="old")
    async with outside(nats_url), running(build(given)):
        pass
    async with running(build(settings(nats_url, postgres_dsn, tmp_path, worker="owner"))) as service:
        assert not await Handovers(service.pool, "owner").others_are_free()

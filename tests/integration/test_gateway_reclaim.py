"""Making room over HTTP and on the command line, with the real pipeline behind it."""

from __future__ import annotations

import json

import pytest
from contracts.monitor import SessionOpened
from contracts.pipeline import SessionFinished
from contracts.values import Pipelines

from services.pipeline.app import build
from services.pipeline.settings import PipelineSettings
from tests.integration.gateway_stage import logged_in, staged
from tests.integration.harness import eventually, running
from tests.integration.test_gateway_queue import aircheck
from tests.integration.test_pipeline_reclaim_service import left, recording
from tests.integration.test_pipeline_service import Outside, planned, recorded, segment

pytestmark = pytest.mark.engines
OPENED = SessionOpened(
    session_id="s1", streamer_id="st1", streamer_name="Ada", url="http://example.org/a.flv", platform="direct",
    title="A title", category="", started_at="2026-01-02T03:04:05+00:00",
)  # fmt: skip


async def test_a_dry_run_shows_what_would_go_and_afterwards_the_session_says_that_it_is_gone(
    nats_url, postgres_dsn, make_database, tmp_path
):
    (tmp_path / "recordings").mkdir()
    given = PipelineSettings(
        database_dsn=make_database(),
        nats_url=nats_url,
        data_dir=tmp_path / "data",
        reclaim_roots=((tmp_path / "recordings").as_uri(),),
        reclaim_protect_hours=0,
    )
    async with staged(nats_url, postgres_dsn, make_database, tmp_path) as stage, running(build(given)):
        world = Outside(stage.client)
        await world.start()
        gateway = await stage.gateway()
        try:
            async with logged_in(gateway) as client:
                await stage.publish(OPENED)
                file = recording(tmp_path, "ada/1.mp4")
                await world.says(planned(Pipelines(), chat=False), segment(0, file), recorded(1))
                await world.until(SessionFinished)

                async def reclaim(*arguments):
                    return await aircheck(gateway, "reclaim", *arguments)

                # when somebody asks dry, then it is shown and nothing happens
                shown = await reclaim("--dry-run", "--keep-days", "0.0000001")
                assert "s1" in shown and "1 sessions, 0.0 MB would go" in shown
                assert left(tmp_path) == ["1.mp4"]
                # when in earnest, then it is gone, and the session says so
                assert "1 sessions, 0.0 MB are gone" in await reclaim("--now", "--keep-days", "0.0000001")
                assert left(tmp_path) == []

                async def told():
                    return (await client.get("/api/sessions/s1")).json()["reclaimed_at"]

                await eventually(told)
                session = (await client.get("/api/sessions/s1")).json()
                assert session["reclaim_reason"] == "older than 1e-07 days"
                manifest = (await client.get("/api/sessions/s1/manifest")).json()
                assert manifest["reclaimed_at"] == session["reclaimed_at"]
                assert [one["uri"] for one in manifest["manifest"]] == [file.uri]
                # and nonsense is refused
                refused = await client.post("/api/reclaims", content=json.dumps({"only_uploaded": "some"}))
                assert refused.status_code == 422
                assert (await client.get("/api/reclaims/nope")).status_code == 404
        finally:
            await gateway.stop()

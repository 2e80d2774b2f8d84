"""The gateway with the real config service: layers, templates, versions, pages."""

from __future__ import annotations

import pytest
from chassis.service import Service

from services.config.app import build as build_config
from services.config.settings import ConfigSettings
from tests.integration.gateway_stage import logged_in, staged

pytestmark = pytest.mark.engines


@pytest.fixture
async def client(nats_url, postgres_dsn, make_database, tmp_path):
    async with staged(nats_url, postgres_dsn, make_database, tmp_path) as stage:
        config: Service = build_config(ConfigSettings(database_dsn=make_database(), nats_url=nats_url))
        await config.start()
        gateway = await stage.gateway()
        try:
            async with logged_in(gateway) as client:
                yield client
        finally:
            await gateway.stop()
            await config.stop()


async def test_a_streamer_stands_on_its_layers(client):
    template = await client.post("/api/templates", json={"name": "night", "layer": {"quality": "720p"}})
    platform = await client.put("/api/config/platforms/example", json={"segment_seconds": 60})
    everything = await client.put("/api/config", json={"check_interval_s": 30})
    body = {"url": "https://live.example.com/42", "template": template.json()["id"], "layer": {"record_chat": False}}
    streamer = await client.post("/api/streamers", json=body)

    assert [answer.status_code for answer in (template, platform, everything, streamer)] == [201, 200, 200, 201]
    shown = streamer.json()
    assert shown["effective"]["quality"] == "720p" and shown["effective"]["check_interval_s"] == 30
    assert shown["provenance"]["record_chat"] == "streamer" and shown["provenance"]["check_interval_s"] == "global"
    listed = (await client.get("/api/templates")).json()["items"]
    assert [(item["id"], item["name"]) for item in listed] == [(template.json()["id"], "night")]
    assert (await client.get("/api/config/platforms")).json()["items"][0]["name"] == "example"


async def test_filters_of_one_streamer_are_set_and_given_back_to_its_layers(client):
    everything = {"filters": {"title_includes": ["concert"]}}
    assert (await client.put("/api/config", json=everything)).status_code == 200
    body = {"url": "https://live.example.com/42", "layer": {"quality": "720p"}}
    location = (await client.post("/api/streamers", json=body)).headers["location"]
    filters = f"{location}/filters"

    inherited = await client.get(filters)
    tag = inherited.headers["etag"]
    own = await client.put(filters, json={"categories": ["Music"]}, headers={"If-Match": tag})
    stale = await client.put(filters, json={}, headers={"If-Match": tag})
    wrong = [
        await client.put(filters, json={"categries": []}),
        await client.put(filters, json={"windows": [{"start": "18:00", "end": "19:00", "timezone": "Mars/Base"}]}),
        await client.get("/api/streamers/nobody/filters"),
    ]
    layer = (await client.get(location)).json()["layer"]
    back = await client.delete(filters)

    assert inherited.json()["origin"] == "global" and inherited.json()["filters"]["title_includes"] == ["concert"]
    assert own.status_code == 200 and own.json()["origin"] == "streamer"
    assert own.json()["filters"] == {"title_includes": [], "title_excludes": [], "categories": ["Music"], "windows": []}
    assert layer["quality"] == "720p", "the rest of the layer stays"
    assert [answer.status_code for answer in (stale, *wrong)] == [412, 422, 422, 404]
    assert back.json()["origin"] == "global" and back.json()["filters"] == inherited.json()["filters"]


async def test_a_template_in_use_stays(client):
    template = await client.post("/api/templates", json={"name": "night"})
    location, template_id = template.headers["location"], template.json()["id"]
    streamer = await client.post("/api/streamers", json={"url": "https://live.example.com/42", "template": template_id})

    refused = await client.delete(location)
    freed = await client.patch(streamer.headers["location"], json={"template": None})
    stale = await client.delete(location, headers={"If-Match": '"9"'})
    removed = await client.delete(location)

    assert (refused.status_code, freed.status_code, freed.json()["template"]) == (409, 200, None)
    assert (stale.status_code, removed.status_code) == (412, 204)
    assert (await client.get(location)).status_code == 404


async def test_a_stale_layer_is_refused_and_a_wrong_one_explained(client):
    saved = await client.put("/api/config", json={"quality": "best"})

    stale = await client.put("/api/config", json={"quality": "x"}, headers={"If-Match": '"0"'})
    fresh = await client.put("/api/config", json={"quality": "x"}, headers={"If-Match": saved.headers["etag"]})
    wrong = await client.put("/api/config", json={"file_template": "{nonsense}"})
    unknown = await client.put("/api/config", json={"qualty": "x"})

    assert (stale.status_code, fresh.status_code, unknown.status_code) == (412, 200, 422)
    assert wrong.status_code == 422 and wrong.json()["detail"]


async def test_starting_and_stopping(client):
    streamer = await client.post("/api/streamers", json={"url": "https://live.example.com/42", "enabled": False})
    location = streamer.headers["location"]

    started = await client.post(f"{location}/start")
    again = await client.post(f"{location}/start")
    checked = await client.post(f"{location}/check")
    stopped = await client.post(f"{location}/stop")
    unknown = await client.post("/api/streamers/nobody/start")

    assert streamer.json()["state"] == "stopped"
    assert (started.status_code, started.json()["state"]) == (200, "waiting")
    assert (again.status_code, again.headers["etag"]) == (200, started.headers["etag"])
    assert (checked.status_code, checked.headers["location"]) == (202, location)
    assert (stopped.json()["state"], unknown.status_code) == ("stopped", 404)
    history = (await client.get(f"{location}/history")).json()["items"]
    assert [item["type"].split(".")[-2] for item in history if "resolved" not in item["type"]] == [
        "stopped",
        "started",
        "added",
    ]


async def test_the_same_address_is_watched_once(client):
    first = await client.post("/api/streamers", json={"url": "https://live.example.com/42"})
    second = await client.post("/api/streamers", json={"url": "https://live.example.com/42"})

    assert (first.status_code, second.status_code) == (201, 409)

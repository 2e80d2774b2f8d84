"""The control API over HTTP, with plain requests."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.studio import Studio


async def _post(http: aiohttp.ClientSession, url: str, body: Any = None) -> tuple[int, Any]:
    async with http.post(url, json=body) as response:
        return response.status, await response.json(content_type=None)


async def test_a_broadcast_by_hand(studio: Studio, http: aiohttp.ClientSession) -> None:
    room = f"{studio.url}/api/rooms/1001"
    status, state = await _post(http, room, {"title": "One", "category": "Chess", "streamer": "Ann", "source": "loop"})
    assert (status, state["title"], state["on_air"]) == (200, "One", False)
    status, state = await _post(http, f"{room}/on-air", {"title": "Two"})
    assert (status, state["title"], state["category"], state["on_air"]) == (200, "Two", "Chess", True)
    status, entry = await _post(http, f"{room}/chat", {"user": "bob", "uid": 3, "text": "hi", "color": 255})
    assert (status, entry["seq"], entry["user"], entry["color"]) == (200, 1, "bob", 255)
    status, entries = await _post(http, f"{room}/chat", {"messages": [{"kind": "gift"}, {"kind": "guard"}]})
    assert (status, [one["seq"] for one in entries]) == (200, [2, 3])
    async with http.get(f"{room}/chat") as response:
        assert [one["kind"] for one in await response.json()] == ["chat", "gift", "guard"]
    status, state = await _post(http, f"{room}/title", {"title": "Three"})
    assert (status, state["title"]) == (200, "Three")
    assert (await _post(http, f"{room}/faults", {"kind": "slow_body", "bytes_per_s": 9}))[1]["affected"] == 0
    async with http.get(f"{room}/faults") as response:
        assert await response.json() == [{"kind": "slow_body", "bytes_per_s": 9}]
    async with http.delete(f"{room}/faults"):
        assert (await studio.room("1001"))["faults"] == []
    status, state = await _post(http, f"{room}/off-air")
    assert (status, state["on_air"]) == (200, False)
    async with http.get(f"{studio.url}/api/rooms") as response:
        assert [one["id"] for one in await response.json()] == ["1001"]
    async with http.delete(room) as response:
        assert response.status == 200
    assert await studio.rooms() == []


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("/api/rooms/none/off-air", None, 404, "none"),
        ("/api/rooms/none/chat", {"text": "x"}, 404, "none"),
        ("/api/rooms/1001", {"colour": 1}, 422, "colour"),
        ("/api/rooms/1001", {"width": 321}, 422, "width"),
        ("/api/rooms/1001", {"formats": ["ts"]}, 422, "flv"),
        ("/api/rooms/1001", [1], 422, "object"),
        ("/api/rooms/a%20b", {}, 422, "letters"),
        ("/api/rooms/other", {"number": 1001}, 422, "1001"),
        ("/api/rooms/1001/chat", {"kind": "raw"}, 422, "message"),
        ("/api/rooms/1001/chat", {"color": -1}, 422, "color"),
        ("/api/rooms/1001/faults", {"kind": "stall", "seconds": -1}, 422, "seconds"),
        ("/api/rooms/1001/faults", {"kind": "repeated_headers"}, 422, "off air"),
        ("/sink/x/fail", {"times": -1}, 422, "times"),
    ],
)
async def test_what_cannot_be_is_answered_with_a_problem(
    studio: Studio, http: aiohttp.ClientSession, path: str, body: Any, status: int, word: str
) -> None:
    await studio.create_room("1001")
    async with http.post(URL(studio.url + path, encoded=True), json=body) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["status"]) == (status, status)
    assert word in problem["detail"]


async def test_waiting_over_http(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.create_room("1001")
    async with http.get(f"{studio.url}/api/rooms/1001/wait?on_air=false") as response:
        assert (await response.json())["on_air"] is False
    async with http.get(f"{studio.url}/api/rooms/1001/wait?viewers=1&timeout=0.05") as response:
        assert response.status == 408

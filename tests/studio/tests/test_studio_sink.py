"""The webhook sink."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.studio import Studio


async def test_requests_are_stored_whole(studio: Studio, http: aiohttp.ClientSession) -> None:
    url = studio.sink_url("hook")
    async with http.post(url + "?a=1", json={"x": "ü"}, headers={"X-Signature": "abc"}) as response:
        assert response.status == 200
    async with http.put(url + "/some/where", data=b"plain") as response:
        assert response.status == 200
    first, second = await studio.sink("hook")
    assert (first["method"], first["path"], first["json"]) == ("POST", "/sink/hook?a=1", {"x": "ü"})
    assert first["headers"]["x-signature"] == "abc"
    assert (second["method"], second["path"]) == ("PUT", "/sink/hook/some/where")
    assert (second["body"], second["json"]) == ("plain", None)
    assert await studio.sink("other") == []


async def test_failures_are_counted_down_and_do_not_satisfy_a_waiter(
    studio: Studio, http: aiohttp.ClientSession
) -> None:
    # given a sink that fails twice, and somebody who waits for two
    await studio.fail_sink("hook", 2, status=503)
    waiting = asyncio.create_task(studio.wait_for_sink("hook", 2))
    # when four requests come
    statuses = []
    for number in range(4):
        assert not waiting.done()
        async with http.post(studio.sink_url("hook"), json=number) as response:
            statuses.append(response.status)
    # then two were refused, and the waiter has the others
    assert statuses == [503, 503, 200, 200]
    assert [one["json"] for one in await waiting] == [2, 3]
    assert [one["status"] for one in await studio.sink("hook")] == statuses


async def test_waiting_in_vain_says_what_there_was(studio: Studio, http: aiohttp.ClientSession) -> None:
    async with http.post(studio.sink_url("hook")):
        pass
    with pytest.raises(TimeoutError, match="1 of 2"):
        await studio.wait_for_sink("hook", 2, timeout=0.05)


async def test_clearing_empties_and_forgives(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.fail_sink("hook", 5)
    async with http.post(studio.sink_url("hook")) as response:
        assert response.status == 500
    await studio.clear_sink("hook")
    assert await studio.sink("hook") == []
    async with http.post(studio.sink_url("hook")) as response:
        assert response.status == 200

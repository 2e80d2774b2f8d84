"""The control API: the studio's methods over HTTP. Problems are answered as RFC 9457 JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import ValidationError

from tests.deadline import DEADLINE_S

from .options import SinkFailure
from .sink import Sinks

if TYPE_CHECKING:
    from .studio import Studio

_MAX_WAIT_S = 300.0
Handler = Callable[[web.Request], Awaitable[Any]]


class ControlEndpoints:
    """`/api/...` and `/sink/...`."""

    def __init__(self, studio: Studio, sinks: Sinks) -> None:
        self._studio = studio
        self._sinks = sinks

    def routes(self) -> list[web.RouteDef]:
        """The routes of this module."""
        room, sink = "/api/rooms/{id}", "/sink/{name}"
        return [
            web.get("/api/rooms", _json(self._rooms)),
            web.get(room, _json(lambda request: self._studio.room(_id(request)))),
            web.post(room, _json(self._create)),
            web.delete(room, _json(lambda request: self._studio.remove_room(_id(request)))),
            web.post(f"{room}/on-air", _json(self._on_air)),
            web.post(f"{room}/off-air", _json(lambda request: self._studio.put_off_air(_id(request)))),
            web.post(f"{room}/title", _json(self._retitle)),
            web.post(f"{room}/chat", _json(self._say)),
            web.get(f"{room}/chat", _json(lambda request: self._studio.chat_log(_id(request)))),
            web.post(f"{room}/faults", _json(self._fault)),
            web.get(f"{room}/faults", _json(self._faults)),
            web.delete(f"{room}/faults", _json(self._clear_faults)),
            web.get(f"{room}/wait", _json(self._wait)),
            web.post("/api/wbi/rotate", _json(lambda _: self._studio.rotate_wbi_keys())),
            web.post(f"{sink}/fail", _json(self._fail_sink)),
            web.get(f"{sink}/wait", _json(self._wait_for_sink)),
            web.get(sink, _json(lambda request: self._studio.sink(request.match_info["name"]))),
            web.delete(sink, _json(lambda request: self._studio.clear_sink(request.match_info["name"]))),
            *(
                method(path, self._sinks.receive)
                for method in (web.post, web.put)
                for path in (sink, sink + "/{tail:.*}")
            ),
        ]

    async def _rooms(self, _: web.Request) -> Any:
        return await self._studio.rooms()

    async def _create(self, request: web.Request) -> Any:
        return await self._studio.create_room(_id(request), **await _object(request))

    async def _on_air(self, request: web.Request) -> Any:
        return await self._studio.put_on_air(_id(request), **await _object(request))

    async def _retitle(self, request: web.Request) -> Any:
        return await self._studio.retitle(_id(request), **await _object(request))

    async def _say(self, request: web.Request) -> Any:
        body = await _object(request)
        if "messages" in body:
            return await self._studio.say_many(_id(request), body["messages"])
        return await self._studio.say(_id(request), **body)

    async def _fault(self, request: web.Request) -> Any:
        return await self._studio.fault(_id(request), **await _object(request))

    async def _faults(self, request: web.Request) -> Any:
        return (await self._studio.room(_id(request)))["faults"]

    async def _clear_faults(self, request: web.Request) -> Any:
        return await self._studio.clear_faults(_id(request), request.query.get("kind"))

    async def _wait(self, request: web.Request) -> Any:
        query = request.query
        return await self._studio.wait_for_room(
            _id(request),
            viewers=int(query["viewers"]) if "viewers" in query else None,
            chatters=int(query["chatters"]) if "chatters" in query else None,
            on_air=query["on_air"] == "true" if "on_air" in query else None,
            timeout=_timeout(request),
        )

    async def _fail_sink(self, request: web.Request) -> Any:
        failure = SinkFailure.model_validate(await _object(request))
        return await self._studio.fail_sink(request.match_info["name"], failure.times, failure.status)

    async def _wait_for_sink(self, request: web.Request) -> Any:
        n = int(request.query.get("n", "1"))
        return await self._studio.wait_for_sink(request.match_info["name"], n, _timeout(request))


def _json(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            return web.json_response(await handler(request))
        except KeyError as error:
            return _problem(404, f"no room {error}")
        except TimeoutError as error:
            return _problem(408, str(error))
        except ValidationError as error:
            return _problem(422, "; ".join(f"{_where(one)}: {one['msg']}" for one in error.errors()))
        except (TypeError, ValueError) as error:
            return _problem(422, str(error))
        except RuntimeError as error:
            return _problem(500, str(error))

    return handle


def _where(error: Any) -> str:
    return ".".join(str(part) for part in error["loc"]) or "body"


def _problem(status: int, detail: str) -> web.Response:
    body = json.dumps({"type": "about:blank", "status": status, "detail": detail}, ensure_ascii=False)
    return web.Response(text=body, status=status, content_type="application/problem+json")


def _id(request: web.Request) -> str:
    return request.match_info["id"]


def _timeout(request: web.Request) -> float:
    return min(float(request.query.get("timeout", DEADLINE_S)), _MAX_WAIT_S)


async def _object(request: web.Request) -> dict[str, Any]:
    text = await request.text()
    body = json.loads(text) if text else {}
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")
    return body

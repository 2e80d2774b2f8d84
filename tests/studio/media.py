"""The media endpoints: live HTTP-FLV and HLS, with the room's faults applied to every byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from aiohttp import web

from .feed import ViewerTooSlowError
from .flv import FILE_HEADER_BYTES, half_of_first_tag
from .room import MediaConnection, Room

_READ_BYTES = 64 << 10
_HLS_TYPES = {
    ".m3u8": "application/vnd.apple.mpegurl",
    ".ts": "video/mp2t",
    ".m4s": "video/iso.segment",
    ".mp4": "video/mp4",
}
_NO_CACHE = {"Cache-Control": "no-cache", "Access-Control-Allow-Origin": "*"}


class MediaEndpoints:
    """Serves `/live/...`; rooms are looked up by id."""

    def __init__(self, find: Callable[[str], Room | None]) -> None:
        self._find = find

    def routes(self) -> list[web.RouteDef]:
        """The routes of this module."""
        return [
            web.get("/live/{room}.flv", self.flv),
            web.get("/live/{room}/{format:ts|fmp4}/master.m3u8", self.master),
            web.get("/live/{room}/{format:ts|fmp4}/{file}", self.hls),
        ]

    async def flv(self, request: web.Request) -> web.StreamResponse:
        """The live FLV: chunked, from the last keyframe; 404 off air; the end of the broadcast is the last chunk."""
        room = self._admit(request, "flv", signed=True)
        if not room.on_air or room.source is None:
            raise web.HTTPNotFound(text="off air")
        chunks = room.source.view()
        response = web.StreamResponse(headers={"Content-Type": "video/x-flv", **_NO_CACHE})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if await _feed(request, room, True, lambda connection: _send_flv(response, room, connection, chunks)):
            await response.write_eof()
            if room.options.source == "unpaced" and room.options.off_air_after:
                await room.put_off_air()
        return response

    async def master(self, request: web.Request) -> web.StreamResponse:
        """A master playlist with the one variant there is."""
        room = self._admit(request, "hls", signed=True)
        if not room.on_air or request.match_info["format"] not in room.options.served_formats:
            raise web.HTTPNotFound(text="off air")
        options = room.options
        query = f"?{request.query_string}" if request.query_string else ""
        lines = (
            "#EXTM3U",
            "#EXT-X-VERSION:6",
            "#EXT-X-INDEPENDENT-SEGMENTS",
            f"#EXT-X-STREAM-INF:BANDWIDTH={options.bandwidth},RESOLUTION={options.width}x{options.height},"
            f"FRAME-RATE={options.fps:.3f}",
            f"index.m3u8{query}",
        )
        headers = {"Content-Type": _HLS_TYPES[".m3u8"], **_NO_CACHE}
        return web.Response(body="\n".join((*lines, "")).encode(), headers=headers)

    async def hls(self, request: web.Request) -> web.StreamResponse:
        """A live playlist, an initialisation section or a segment, as the encoder wrote it."""
        name = request.match_info["file"]
        room = self._admit(request, "hls", signed=name.endswith(".m3u8"))
        directory = room.source.directory if room.source else None
        content_type = _HLS_TYPES.get(Path(name).suffix)
        if directory is None or content_type is None or Path(name).name != name:
            raise web.HTTPNotFound(text="no such file, or off air")
        try:
            body = await asyncio.to_thread((directory / request.match_info["format"] / name).read_bytes)
        except FileNotFoundError:
            raise web.HTTPNotFound(text="no such file") from None
        await room.faults.pass_through()
        response = web.StreamResponse(headers={"Content-Type": content_type, **_NO_CACHE})
        response.content_length = len(body)
        await response.prepare(request)
        await _feed(request, room, False, lambda _: _send_body(response, room, body))
        return response

    def _admit(self, request: web.Request, target: str, *, signed: bool) -> Room:
        room = self._find(request.match_info["room"])
        if room is None:
            raise web.HTTPNotFound(text="no such room")
        refusal = room.faults.refusal_for(target, request.query.get("cdn"))
        if refusal is not None:
            raise _refused(refusal)
        if any(text not in request.headers.get(name, "") for name, text in room.options.required_headers.items()):
            raise web.HTTPForbidden(text="a header is missing")
        if signed and "sign" in request.query and not _signature_holds(request, room):
            raise web.HTTPForbidden(text="the URL has expired")
        return room


def _signature_holds(request: web.Request, room: Room) -> bool:
    path = request.path.replace("/master.m3u8", "/index.m3u8")
    return room.urls.accepts(path, request.query.get("expires", ""), request.query["sign"])


def _refused(status: int) -> web.HTTPException:
    class Refused(web.HTTPException):
        status_code = status

    return Refused(text="fault on demand")


async def _feed(
    request: web.Request, room: Room, is_flv: bool, send: Callable[[MediaConnection], Awaitable[None]]
) -> bool:
    """Run `send` as a task that a fault can cut; True when it sent everything."""
    started = asyncio.Event()
    holder: list[MediaConnection] = []

    async def sending() -> None:
        await started.wait()
        await send(holder[0])

    task = asyncio.create_task(sending())
    connection = MediaConnection(request.transport, task, is_flv)
    holder.append(connection)
    with room.sending(connection):
        started.set()
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
    if task.cancelled():
        return False
    error = task.exception()
    if isinstance(error, ViewerTooSlowError):
        connection.cut()
        return False
    if isinstance(error, ConnectionError):
        return False
    if error is not None:
        raise error
    return True


async def _send_flv(
    response: web.StreamResponse, room: Room, connection: MediaConnection, chunks: AsyncIterator[bytes]
) -> None:
    opening = True
    try:
        async for chunk in chunks:
            await room.faults.pass_through()
            if connection.truncate:
                # The file header is no tag: the cut goes into the first tag behind it.
                skip = FILE_HEADER_BYTES if opening else 0
                await _write(response, room, chunk[:skip] + half_of_first_tag(chunk[skip:]))
                connection.cut()
                return
            opening = False
            await _write(response, room, chunk)
    finally:
        await chunks.aclose()


async def _send_body(response: web.StreamResponse, room: Room, body: bytes) -> None:
    for at in range(0, len(body), _READ_BYTES):
        await room.faults.pass_through()
        await _write(response, room, body[at : at + _READ_BYTES])


async def _write(response: web.StreamResponse, room: Room, data: bytes) -> None:
    """Write `data`, in tenths of a second's worth when the room's body is slow."""
    while data:
        rate = room.faults.bytes_per_s
        piece = data if rate is None else data[: max(1, rate // 10)]
        await response.write(piece)
        room.bytes_sent += len(piece)
        data = data[len(piece) :]
        if rate is not None:
            await asyncio.sleep(len(piece) / rate)

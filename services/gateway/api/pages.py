"""The status page, the reference of the API, and the document of the bus. Files only: nothing is fetched from elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import json
from functools import cache
from pathlib import Path

from contracts import asyncapi
from contracts.registry import load_vocabulary
from fastapi import APIRouter, Request, Response

WEB = Path(__file__).parents[1] / "web"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = {
    "/": "index.html",
    "/docs": "docs.html",
    **{f"/{name}": name for name in ("app.js", "docs.js", "style.css", "icon.svg")},
}
router = APIRouter(include_in_schema=False)


@router.get("/asyncapi.json")
async def asyncapi_document(request: Request) -> Response:
    """The AsyncAPI 3 document of the whole bus."""
    body = await asyncio.to_thread(_asyncapi, request.app.version)
    return Response(body, media_type="application/json")


async def page(request: Request) -> Response:
    """One file of the status page."""
    body, tag, media_type = _file(FILES[request.url.path])
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)


for _path in FILES:
    router.add_api_route(_path, page, methods=["GET", "HEAD"])


@cache
def _asyncapi(version: str) -> bytes:
    return json.dumps(asyncapi.document(load_vocabulary(), version), ensure_ascii=False).encode()


@cache
def _file(name: str) -> tuple[bytes, str, str]:
    body = (WEB / name).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:16]}"', TYPES[Path(name).suffix]

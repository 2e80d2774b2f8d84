"""Sessions: broadcasts and what was made of them."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from contracts.danmu import ChatPulse, Statistics
from contracts.values import Id
from fastapi import APIRouter, Query, Response
from media.chat.message import encode_line

from services.gateway.api.context import Gateway, Parts
from services.gateway.api.events import EventItem, event_page
from services.gateway.api.outcome import resource
from services.gateway.api.paging import Page, Paged
from services.gateway.api.problems import Refusal, not_found
from services.gateway.api.resources import ChatFiles, ChatLine, Manifest, Segment, Session
from services.gateway.api.security import reading
from services.gateway.realtime.chat import writable
from services.gateway.store import views
from services.gateway.store.views import EventFilter

router = APIRouter(prefix="/api/sessions", tags=["sessions"], dependencies=[reading("sessions")])


@router.get("")
async def sessions(
    parts: Parts,
    paging: Paged,
    streamer_id: Annotated[Id | None, Query()] = None,
    state: Literal["open", "suspended", "closed"] | None = None,
) -> Page[Session]:
    """Sessions, newest first."""
    found = await views.sessions(
        parts.pool, streamer_id=streamer_id, state=state, before=paging.by_time(), limit=paging.fetch
    )
    shown = [_live(parts, item) for item in found]
    return Page[Session].model_validate(paging.page(shown, "opened_at", "id"))


@router.get("/{session_id}", response_model=Session)
async def session(session_id: Id, parts: Parts) -> Response:
    """One session."""
    return resource(_live(parts, await _existing(parts, session_id)), Session)


@router.get("/{session_id}/segments")
async def segments(session_id: Id, parts: Parts, paging: Paged) -> Page[Segment]:
    """The files of a session in the order in which they were begun, over all its recordings."""
    await _existing(parts, session_id)
    found = await views.segments(
        parts.pool, session_id=session_id, after=paging.by_time_and_index(), limit=paging.fetch
    )
    return Page[Segment].model_validate(paging.page(found, "opened_at", "recording_id", "index"))


@router.get("/{session_id}/chat")
async def chat(session_id: Id, parts: Parts, paging: Paged) -> Page[ChatLine]:
    """The messages in the finished chat files of a session, in order. What is said now comes over the WebSocket."""
    files = (await _chat(parts, session_id))["items"]
    file, line = paging.by_file_and_line() or (0, -1)
    found: list[dict[str, Any]] = []
    for number in range(file, len(files)):
        first = line + 1 if number == file else 0
        found += await _messages(parts, files[number], number, first, paging.fetch - len(found))
        if len(found) >= paging.fetch:
            break
    return Page[ChatLine].model_validate(paging.page(found, "file", "line"))


@router.get("/{session_id}/chat/files")
async def chat_files(session_id: Id, parts: Parts) -> ChatFiles:
    """The chat of a session and its files."""
    return ChatFiles.model_validate(await _chat(parts, session_id))


@router.get("/{session_id}/chat/stats")
async def chat_statistics(session_id: Id, parts: Parts) -> Statistics:
    """What the chat of a session was like; while it runs, what it is like so far."""
    await _chat(parts, session_id)
    found = await views.chat_statistics(parts.pool, session_id)
    if found is None:
        pulse = parts.signals.last(ChatPulse, session_id)
        found = pulse["statistics"] if pulse else None
    if found is None:
        raise Refusal(404, "nothing was said in this chat, or nobody has counted it yet")
    return Statistics.model_validate(found)


@router.get("/{session_id}/timeline")
async def timeline(session_id: Id, parts: Parts, paging: Paged) -> Page[EventItem]:
    """Everything that happened in a session, whoever did it, in the order of the store."""
    await _existing(parts, session_id)
    return await event_page(parts, paging, EventFilter(session_id=session_id))


@router.get("/{session_id}/manifest")
async def manifest(session_id: Id, parts: Parts) -> Manifest:
    """Every file that came out of a session, once it is finished."""
    await _existing(parts, session_id)
    found = await views.manifest(parts.pool, session_id)
    if found is None:
        raise Refusal(404, "this session is not finished: its manifest comes with the last file")
    return Manifest.model_validate(found)


def _live(parts: Gateway, item: dict[str, Any]) -> dict[str, Any]:
    """A session whose chat still runs shows what was said so far, not only what is in finished files."""
    chat = item["chat"]
    pulse = parts.signals.last(ChatPulse, item["id"]) if chat and chat["state"] != "ended" else None
    if chat is None or pulse is None:
        return item
    return {**item, "chat": {**chat, "lines": max(chat["lines"], pulse["statistics"]["messages"])}}


async def _existing(parts: Gateway, session_id: str) -> dict[str, Any]:
    found = await views.sessions(parts.pool, id=session_id)
    if not found:
        raise not_found("session", session_id)
    return found[0]


async def _chat(parts: Gateway, session_id: str) -> dict[str, Any]:
    await _existing(parts, session_id)
    found = await views.chat(parts.pool, session_id)
    if found is None:
        raise Refusal(404, "no chat was recorded for this session")
    return found


async def _messages(parts: Gateway, file: dict[str, Any], number: int, first: int, limit: int) -> list[dict[str, Any]]:
    try:
        found = await parts.chat_logs.page(file["log"], first, limit)
    except (OSError, ValueError) as error:
        raise Refusal(503, f"chat file {number} cannot be read: {type(error).__name__}") from error
    place = {"recording_id": file["recording_id"], "index": file["index"], "file": number}
    return [
        {
            **place,
            "line": line,
            "offset_ms": timed.offset_ms,
            "message": writable(json.loads(encode_line(timed.message))),
        }
        for line, timed in found
    ]

"""``/api/ws``: events, progress and chat for browsers, one connection for all of it.

The token comes as ``Authorization: Bearer …``, as ``?token=`` or, from browsers, in the first message ``{"type":"auth","token":…}``. Then a message
``{"type":"subscribe","events":…,"signals":…,"chat":[…]}`` says what is wanted; each one replaces the one before.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal

from contracts.message import Signal
from contracts.values import Id, Problem, Strict
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import Field, ValidationError

from services.gateway import metrics
from services.gateway.accounts import LoginRefused
from services.gateway.api.context import Gateway, gateway_of
from services.gateway.api.security import bearer
from services.gateway.domain import Principal
from services.gateway.realtime.chat import ChatLine
from services.gateway.realtime.mailbox import Gone, Mailbox, TooManyClients
from services.gateway.store.events import StoredEvent
from services.gateway.store.views import EventFilter

router = APIRouter()
AUTH_TIMEOUT_S, PING_S = 10.0, 15.0
NOT_AUTHENTICATED, NOT_ALLOWED, TRY_AGAIN = 4401, 4403, 1013
MAX_CHATS = 20


class Auth(Strict):
    """The first message of a client that gave no token in the address."""

    type: Literal["auth"]
    token: Annotated[str, Field(max_length=4096)]


class Subscribe(Strict):
    """What is wanted from now on. ``streamer_id`` and ``session_id`` narrow the events."""

    type: Literal["subscribe"]
    events: bool = False
    signals: bool = False
    chat: Annotated[tuple[Id, ...], Field(max_length=MAX_CHATS)] = ()
    streamer_id: Id | None = None
    session_id: Id | None = None


@router.websocket("/api/ws")
async def websocket(socket: WebSocket) -> None:
    """Serve one client until it leaves, is too slow, or its login ends."""
    parts = gateway_of(socket)
    await socket.accept()
    token = socket.query_params.get("token") or bearer(socket.scope) or await _first_message(socket)
    principal = await _identify(parts, token)
    if principal is None:
        await socket.close(NOT_AUTHENTICATED, "not authenticated")
        return
    try:
        box = parts.clients.open()
    except TooManyClients:
        await socket.close(TRY_AGAIN, "too many clients")
        return
    metrics.STREAMS.labels("websocket").inc()
    try:
        await _Connection(socket, parts, box, principal, token).serve()
    finally:
        parts.clients.forget(box)
        metrics.STREAMS.labels("websocket").dec()


class _Connection:
    """One authenticated client."""

    def __init__(self, socket: WebSocket, parts: Gateway, box: Mailbox, principal: Principal, token: str) -> None:
        self.socket, self.parts, self.box, self.principal, self.token = socket, parts, box, principal, token

    async def serve(self) -> None:
        await self.socket.send_json({"type": "ready", "position": self.parts.follower.position})
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        try:
            await asyncio.wait([reader, writer], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            await self._unsubscribe()

    async def _read(self) -> None:
        while True:
            try:
                text = await self.socket.receive_text()
            except (WebSocketDisconnect, KeyError):
                return
            try:
                wanted = Subscribe.model_validate_json(text)
            except ValidationError as error:
                await self._refuse(422, "Invalid message", error.errors(include_input=False)[0]["msg"])
                continue
            refusal = self._refusal(wanted)
            if refusal:
                await self._refuse(403, "Forbidden", refusal)
                continue
            await self._unsubscribe()
            await self._subscribe(wanted)

    async def _write(self) -> None:
        beat = time.monotonic() + PING_S
        try:
            while True:
                item = await self.box.get(max(0.0, beat - time.monotonic()))
                if item is not None:
                    await self.socket.send_json(_message(item))
                if time.monotonic() >= beat:
                    await self.parts.accounts.identify(self.token)
                    await self.socket.send_json({"type": "ping"})
                    beat = time.monotonic() + PING_S
        except Gone as gone:
            await self.socket.close(TRY_AGAIN if gone.too_slow else 1001, str(gone))
        except LoginRefused:
            await self.socket.close(NOT_AUTHENTICATED, "the login ended")
        except (WebSocketDisconnect, RuntimeError):
            return  # the client left while something was being sent

    def _refusal(self, wanted: Subscribe) -> str | None:
        needed = {"events": wanted.events, "recordings": wanted.signals, "sessions": bool(wanted.chat)}
        refusals = (self.principal.refusal("viewer", name, "read") for name, asked in needed.items() if asked)
        return next((refusal for refusal in refusals if refusal), None)

    async def _subscribe(self, wanted: Subscribe) -> None:
        if wanted.events:
            which = EventFilter(streamer_id=wanted.streamer_id, session_id=wanted.session_id)
            self.parts.follower.subscribe(self.box, self.parts.follower.position, which.admits)
        if wanted.signals:
            self.parts.signals.subscribe(self.box)
        for session_id in wanted.chat:
            await self.parts.chat.join(session_id, self.box)

    async def _unsubscribe(self) -> None:
        self.parts.follower.unsubscribe(self.box)
        self.parts.signals.unsubscribe(self.box)
        await self.parts.chat.leave(self.box)

    async def _refuse(self, status: int, title: str, detail: str) -> None:
        trace_id = self.socket.state.trace_id
        body = Problem(title=title, status=status, detail=detail, trace_id=trace_id)
        await self.socket.send_json({"type": "error", "problem": body.model_dump(mode="json")})


def _message(item: Any) -> dict[str, Any]:
    if isinstance(item, StoredEvent):
        return {"type": "event", "event": item.cloud_event}
    if isinstance(item, ChatLine):
        return {"type": "chat", "session_id": item.session_id, "line": item.line}
    signal: Signal = item
    return {"type": "signal", "name": signal.message_type, "data": signal.model_dump(mode="json")}


async def _first_message(socket: WebSocket) -> str:
    try:
        async with asyncio.timeout(AUTH_TIMEOUT_S):
            return Auth.model_validate_json(await socket.receive_text()).token
    except (TimeoutError, ValidationError, WebSocketDisconnect, KeyError):
        return ""


async def _identify(parts: Gateway, token: str) -> Principal | None:
    try:
        return await parts.accounts.identify(token)
    except LoginRefused:
        return None

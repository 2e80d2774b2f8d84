"""Bigo Live's chat messages, as pure code.

A frame is text: an event number (``high << 8 | low``) and a JSON object, between which the server puts a tab. The server asks
first: 256 challenge, 79108 its answer, 512279 log in and 512535 the answer, 1304 enter the room and 1560 the answer, 791
heartbeat and its answer. 2584 is what happens in the room: by ``payload.tag`` 1 chat, 2 a paid bullet comment, 6 the line that says
who gave a gift; ``content`` is base64 of JSON {n name, m text}. The gift itself comes before its line, as a 2584 with ``oriUri``
760969 that names the sender's number only. 10264 counts the audience. Source: the scripts of www.bigo.tv, and frames recorded by
open-source clients. Prices are in Bigo's own currencies and are not told.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, NamedTuple

from services.danmu.adapters.codec import CodecCounters, Decoded, now_ms
from services.danmu.adapters.links import MAX_FRAME_BYTES
from services.danmu.adapters.messages import ChatMessage, MessageKind


class Event(StrEnum):
    """The event numbers."""

    CHALLENGE = "256"
    ANSWER = "79108"
    LOGIN = "512279"
    LOGIN_ANSWER = "512535"
    ENTER = "1304"
    ENTER_ANSWER = "1560"
    HAPPENED = "2584"
    AUDIENCE = "10264"
    HEARTBEAT = "791"


GIFT: Final = "760969"

MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
MAX_PENDING: Final = 256
SENDER_WAIT_MS: Final = 1000
"""The line with the sender's name comes some 75 ms after the gift; without it a gift is told without a name."""

_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_DIGITS: Final = re.compile(r"[0-9]{1,20}")
_APP: Final = ("60", "4", "5", "1", "1", "1", "1")
"""What the page calls itself: app, system and version, then fields it leaves at 1."""


class Visitor(NamedTuple):
    """The anonymous account that the site gives to every visitor; `token` is a secret."""

    uid: str
    token: str
    device: str
    name: str = "0"


class BigoCodec:
    """One connection's codec for one room; `clock` gives unix milliseconds."""

    def __init__(
        self,
        room_id: str,
        visitor: Visitor,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.counters = CodecCounters()
        self._room_id, self._visitor, self._clock = room_id, visitor, clock
        self._pending: dict[str, ChatMessage] = {}

    def heartbeat(self) -> str:
        """Due every 10 s; it is answered."""
        now = {"status": "0", "seqid": str(self._clock()), "flag": "0"}
        return _frame(Event.HEARTBEAT, {**now, "roomId": "0", "ownerStatus": "0", "micUid": "0"})

    def feed(self, frame: bytes) -> Decoded:
        """Everything in one frame. Never raises: what is broken or unknown is counted and left out."""
        decoded, now = Decoded(), self._clock()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            return decoded
        number, mark, body = frame.decode("utf-8", "replace").partition("{")
        event = number.strip("\t\r\n\0 ")
        root = _object(mark + body)
        if root is None or not _NUMBER.fullmatch(event):
            self.counters.malformed += 1
        elif root.get("info") == "unsigned" or root.get("errUri"):
            decoded.authenticated = False
        else:
            self._event(event, root, decoded, now)
        decoded.messages += self._nameless(now)
        return decoded

    def _event(self, event: str, root: dict[str, Any], decoded: Decoded, now: int) -> None:
        match event:
            case Event.CHALLENGE:
                decoded.replies += [_answer(_text(root, "challenge"), now), _login(self._visitor)]
            case Event.LOGIN_ANSWER:
                if root.get("res") == "200":
                    decoded.replies.append(_enter(self._room_id, self._visitor, now))
                else:
                    decoded.authenticated = False
            case Event.ENTER_ANSWER:
                # Entered, but there is no broadcast: to be tried again.
                decoded.authenticated = root.get("resCode") == "200" and _text(root, "sid") not in ("", "0")
            case Event.HAPPENED:
                self._happened(root, decoded, now)
            case Event.AUDIENCE:
                count = _text(root, "totalUserCount")
                if _text(root, "gid") == self._room_id and _DIGITS.fullmatch(count):
                    decoded.popularity = int(count)
            case Event.HEARTBEAT:
                pass
            case _:
                self.counters.ignore(event)

    def _happened(self, root: dict[str, Any], decoded: Decoded, now: int) -> None:
        payload = root.get("payload")
        if not isinstance(payload, dict):
            self.counters.malformed += 1
            return
        if (_text(root, "room_id") or _text(payload, "room_id")) != self._room_id:
            self.counters.ignore("another room")
            return
        tag = _text(payload, "tag")
        uid = _uid(payload, "uid") or _uid(payload, "from_uid") or _uid(root, "from_uid")
        if _text(root, "oriUri") == GIFT:
            decoded.messages += self._gift(root, payload, uid, now)
        elif tag == "6":
            decoded.messages += self._name_gift(uid, _said(payload))
        elif tag in ("1", "2"):
            decoded.messages += _chat(root, _said(payload), uid, now)
        else:
            self.counters.ignore(f"tag {tag}"[:64])

    def _gift(self, root: dict[str, Any], payload: dict[str, Any], uid: str, now: int) -> list[ChatMessage]:
        name = _text(payload, "vgift_name").strip()[:MAX_NAME]
        if not name:
            self.counters.ignore("empty gift")
            return []
        count = _text(payload, "vgift_count")
        quantity = max(int(count), 1) if _NUMBER.fullmatch(count) else 1
        message = ChatMessage(MessageKind.GIFT, now, id=_id(root, uid), uid=uid, gift=name, quantity=quantity)
        if not uid:
            return [message]
        earlier = self._pending.pop(uid, None)
        self._pending[uid] = message
        told = [earlier] if earlier else []
        if len(self._pending) > MAX_PENDING:
            told.append(self._pending.pop(next(iter(self._pending))))
        return told

    def _name_gift(self, uid: str, said: dict[str, Any]) -> list[ChatMessage]:
        message = self._pending.pop(uid, None)
        return [message._replace(user=_text(said, "n").strip()[:MAX_NAME])] if message else []

    def _nameless(self, now: int) -> list[ChatMessage]:
        """The gifts whose line did not come."""
        late = [uid for uid, message in self._pending.items() if message.received_at <= now - SENDER_WAIT_MS]
        return [self._pending.pop(uid) for uid in late]


def _chat(root: dict[str, Any], said: dict[str, Any], uid: str, now: int) -> list[ChatMessage]:
    text = _text(said, "m").strip()[:MAX_TEXT]
    if not text:
        return []
    user = _text(said, "n").strip()[:MAX_NAME]
    return [ChatMessage(MessageKind.CHAT, now, id=_id(root, uid), user=user, uid=uid, text=text)]


def _said(payload: dict[str, Any]) -> dict[str, Any]:
    """The JSON in a payload's content, {} where there is none."""
    content = payload.get("content")
    if not isinstance(content, str):
        return {}
    try:
        decoded = base64.b64decode(content + "=" * (-len(content) % 4))
    except (binascii.Error, ValueError):
        return {}
    return _object(decoded.decode("utf-8", "replace")) or {}


def _answer(challenge: str, now: int) -> str:
    """Signed with the time and the last eight characters of the challenge."""
    app, system, version, nonce, reserved, sign, redundancy = _APP
    seconds = str(now // 1000)
    signed = "#".join((app, system, version, seconds, nonce, reserved, sign, redundancy, challenge[-8:]))
    return _frame(
        Event.ANSWER,
        {
            "appId": app,
            "osType": system,
            "clientVersion": version,
            "timeStamp": seconds,
            "nonce": nonce,
            "reservedForSecurity": reserved,
            "appSign": sign,
            "redundancy": redundancy,
            "sign": hashlib.md5(signed.encode("utf-8", "replace"), usedforsecurity=False).hexdigest(),
        },
    )


def _login(visitor: Visitor) -> str:
    unset = ("secret", "userFlag", "status", "password", "sdkVersion", "displayType", "pbVersion", "loginLevel")
    network = dict.fromkeys(("clientIp", "proxySwitch", "proxyTimestamp", "mcc", "mnc"), "0")
    return _frame(
        Event.LOGIN,
        {
            "uid": visitor.uid,
            "cookie": visitor.token,
            "userName": visitor.name,
            "deviceId": visitor.device,
            **dict.fromkeys(unset, "0"),
            "lang": "cn",
            "clientVersionCode": "0",
            "clientType": "7",
            "clientOsVer": "0",
            "netConf": {**network, "countryCode": "CN"},
        },
    )


def _enter(room_id: str, visitor: Visitor, now: int) -> str:
    return _frame(
        Event.ENTER,
        {
            "secretKey": "0",
            "seqId": str(now),
            "roomId": room_id,
            "reserver": "1",
            "clientVersion": "0",
            "clientType": "7",
            "version": "15",
            "deviceid": visitor.device,
            "other": [],
        },
    )


def _frame(event: str, body: dict[str, Any]) -> str:
    return event + json.dumps(body, separators=(",", ":"))


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _text(root: dict[str, Any], key: str) -> str:
    value = root.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 64:
        return str(value)
    return value if isinstance(value, str) else ""


def _uid(root: dict[str, Any], key: str) -> str:
    value = _text(root, key)
    return value if _DIGITS.fullmatch(value) and value.strip("0") else ""


def _id(root: dict[str, Any], uid: str) -> str:
    """The server repeats a message with the same sequence number."""
    number = _text(root, "seqId")
    return f"{uid}:{number}" if uid and _DIGITS.fullmatch(number) else ""

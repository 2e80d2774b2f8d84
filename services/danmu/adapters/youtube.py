"""The answers of YouTube's live chat, as pure code: the chat's page first, then one JSON object for each poll.

The page ``/live_chat?v=<video>`` holds two JSON objects: the arguments of ``ytcfg.set`` (``INNERTUBE_API_KEY``,
``INNERTUBE_CONTEXT``) and ``ytInitialData`` with the first ``continuation``. Each poll posts the context and the last
continuation to ``/youtubei/v1/live_chat/get_live_chat``; the answer's ``continuationContents.liveChatContinuation`` holds
``actions`` and the next continuation, of one of the kinds ``invalidation``, ``timed`` and ``reload``, with ``timeoutMs``:
how long to wait. An answer without continuation is the end of the chat. The page lists two views, the selected "top chat"
and, second, the whole chat. Sources: the documentation of yt-dlp (live chat as subtitles), chat-downloader and YouTube.js.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from services.danmu.adapters.codec import CodecCounters, Decoded, now_ms
from services.danmu.adapters.json_fields import count_at, dig, list_at, object_at, parse_json, text_at
from services.danmu.adapters.messages import ChatMessage, MessageKind
from services.danmu.adapters.recent import Backlog
from services.danmu.adapters.youtube_actions import messages_of, stays
from services.danmu.adapters.youtube_polls import Polls

MAX_FRAME_BYTES: Final = 8 << 20
MAX_ACTIONS: Final = 4096
MAX_CONTINUATION: Final = 8192
MIN_WAIT_S: Final = 0.25
MAX_WAIT_S: Final = 30.0
"""A server that asks for more rest than this would cost messages: an answer holds a limited number of them."""
USUAL_WAIT_S: Final = 5.0
CLIENT_VERSION: Final = "2.20250101.00.00"

_CONTINUATIONS: Final = ("invalidationContinuationData", "timedContinuationData", "reloadContinuationData")
_INITIAL: Final = re.compile(r"""(?:window\[["']ytInitialData["']\]|var ytInitialData)\s*=\s*""")
_CONFIG: Final = re.compile(r"ytcfg\.set\(\s*(?=\{)")
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


class YoutubeCodec:
    """One chat's codec. `since` (unix ms): older messages, which the page repeats, are left out; so are ids in `seen`."""

    def __init__(self, since: int = 0, seen: Backlog | None = None, clock: Callable[[], int] = now_ms) -> None:
        self.counters = CodecCounters()
        self.continuation = ""
        self.wait_s = 0.0
        self.api_key = ""
        self._context: dict[str, Any] = {}
        self._since = since
        self._seen = Backlog() if seen is None else seen
        self._polls = Polls()
        self._clock = clock

    def _page(self, page: bytes, decoded: Decoded) -> None:
        """Afterwards `continuation` is empty where there is no chat, or not any more."""
        html = page.decode("utf-8", "replace")
        config = _object_behind(_CONFIG, html, "INNERTUBE_CONTEXT")
        key = text_at(config, "INNERTUBE_API_KEY")
        self.api_key = key if _KEY.fullmatch(key) else ""
        self._context = _client(config)
        chat = object_at(_object_behind(_INITIAL, html, "contents"), "contents", "liveChatRenderer")
        if not chat:
            self.counters.malformed += 1
        views = list_at(
            chat, "header", "liveChatHeaderRenderer", "viewSelector", "sortFilterSubMenuRenderer", "subMenuItems"
        )
        self._take(chat, decoded)
        # The view of all messages is asked for from the first poll on; the page itself shows the "top" ones.
        whole = text_at(views, 1, "continuation", "reloadContinuationData", "continuation", limit=MAX_CONTINUATION)
        if self.continuation and whole:
            self.continuation, self.wait_s = whole, MIN_WAIT_S
        decoded.authenticated = True if self.continuation else None
        decoded.reconnect = "" if self.continuation else "there is no chat, or not any more"

    def heartbeat(self) -> None:
        """None: each poll is a sign of life."""

    def poll(self) -> bytes:
        """The body of the next poll."""
        return json.dumps({"context": self._context, "continuation": self.continuation}).encode()

    def feed(self, frame: bytes) -> Decoded:
        """The page first, then the answer to each poll. Never raises: what is broken or unknown is counted and left out."""
        decoded = Decoded()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            decoded.reconnect = "an answer beyond the limit"
        elif self.continuation:
            self._answer(frame, decoded)
        else:
            self._page(frame, decoded)
        return decoded

    def _answer(self, frame: bytes, decoded: Decoded) -> None:
        answer = parse_json(frame)
        if not isinstance(answer, dict):
            self.counters.malformed += 1
            decoded.reconnect = "an answer that is no JSON object"
            return
        self._take(object_at(answer, "continuationContents", "liveChatContinuation"), decoded)
        if not self.continuation:
            decoded.messages.append(ChatMessage(MessageKind.STREAM_CLOSED, self._clock(), action="ended"))
            decoded.reconnect = "the chat is over"

    def _take(self, chat: dict[str, Any], decoded: Decoded) -> None:
        """The messages of a chat object, and how it goes on."""
        now = self._clock()
        self._seen.join(now)
        actions = list_at(chat, "actions", limit=MAX_ACTIONS)
        seconds = stays(actions)
        for action in actions:
            found = messages_of(action, now) or self._polls.messages_of(action, now)
            if not found:
                self.counters.ignore(_name(action))
            decoded.messages += [
                message._replace(
                    received_at=self._seen.received_at(message.sent_at, now), duration_s=seconds.get(message.id, 0)
                )
                for message in found
                if self._is_news(message)
            ]
        self.continuation, self.wait_s = _next(chat)

    def _is_news(self, message: ChatMessage) -> bool:
        if message.sent_at and message.sent_at < self._since:
            return False
        return not message.id or self._seen.add(message.id)


def _next(chat: dict[str, Any]) -> tuple[str, float]:
    data = dig(chat, "continuations", 0)
    for kind in _CONTINUATIONS:
        token = text_at(data, kind, "continuation", limit=MAX_CONTINUATION)
        if token:
            wait = count_at(data, kind, "timeoutMs") / 1000 or USUAL_WAIT_S
            return token, min(max(wait, MIN_WAIT_S), MAX_WAIT_S)
    return "", USUAL_WAIT_S


def _name(action: object) -> str:
    """The kind of a renderer or of an action that is of no use here."""
    if not isinstance(action, dict):
        return "no action"
    item = object_at(action, "addChatItemAction", "item") or action
    names = (str(key)[:64] for key in item if key != "clickTrackingParams")
    return next(names, "empty")


def _client(config: dict[str, Any]) -> dict[str, Any]:
    """What the page says it is, as the polls repeat it: the version must fit the page's, the rest is of no interest."""
    said = object_at(config, "INNERTUBE_CONTEXT", "client")
    client = {
        "clientName": text_at(said, "clientName", limit=64) or "WEB",
        "clientVersion": text_at(said, "clientVersion", limit=64) or CLIENT_VERSION,
        "visitorData": text_at(said, "visitorData", limit=1024),
        "hl": "en",
        "gl": "US",
    }
    return {"client": {name: value for name, value in client.items() if value}}


def _object_behind(mark: re.Pattern[str], html: str, wanted: str) -> dict[str, Any]:
    """The first JSON object behind a mark that has the wanted key."""
    decoder = json.JSONDecoder()
    for tries, match in enumerate(mark.finditer(html)):
        if tries >= 16:
            break
        try:
            value, _ = decoder.raw_decode(html, match.end())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and wanted in value:
            return value
    return {}

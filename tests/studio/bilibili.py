"""Bilibili's web API on the studio's own URL: the endpoints a recorder calls, with the real shapes and codes.

Source of the shapes: the community's collected API documentation (room information, play information, message stream,
navigation, browser fingerprint) and answers recorded there.
"""

from __future__ import annotations

import html
import json
import secrets
import time
import zlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from .chat import ChatServer
from .danmaku import area_id
from .options import MediaFormat
from .room import Room
from .signatures import WbiKeys

_BEIJING = timezone(timedelta(hours=8))
_OFF_AIR_SINCE = -62170012800
_QUALITIES = {30000: "杜比", 20000: "4K", 10000: "原画", 400: "蓝光", 250: "超清", 150: "高清", 80: "流畅"}
# protocol parameter, protocol name, format parameter, format name, the studio's format
_STREAMS: tuple[tuple[str, str, str, str, MediaFormat], ...] = (
    ("0", "http_stream", "0", "flv", "flv"),
    ("1", "http_hls", "1", "ts", "ts"),
    ("1", "http_hls", "2", "fmp4", "fmp4"),
)
_CODECS = {"h264": ("0", "avc"), "hevc": ("1", "hevc")}
_CDNS = ("studio-a", "studio-b")
Handler = Callable[[web.Request, Room], Awaitable[web.Response]]


def answer(data: Any, code: int = 0, message: str = "0") -> web.Response:
    """The platform's envelope; HTTP 200 whatever the code."""
    return web.json_response({"code": code, "message": message, "ttl": 1, "data": data})


class BilibiliEndpoints:
    """The room page and the API; rooms are looked up by number, short number or id."""

    def __init__(self, find: Callable[[str], Room | None], keys: WbiKeys, chat: ChatServer) -> None:
        self._find = find
        self._keys = keys
        self._chat = chat

    def routes(self) -> list[web.RouteDef]:
        """The routes of this module."""
        index = "/xlive/web-room/v1/index"
        return [
            web.get("/bili/{room}", self.page),
            web.get(f"{index}/getInfoByRoom", self._of_room("room_id", self.info_by_room, 19002000, signed=True)),
            web.get(f"{index}/getDanmuInfo", self._of_room("id", self.danmu_info, 19002000, signed=True)),
            web.get("/xlive/web-room/v2/index/getRoomPlayInfo", self._of_room("room_id", self.play_info, 60004)),
            web.get("/room/v1/Room/room_init", self._of_room("id", self.room_init, 60004)),
            web.get("/room/v1/Room/get_info", self._of_room("room_id", self.get_info, 1)),
            web.get("/x/web-interface/nav", self.nav),
            web.get("/x/frontend/finger/spi", self.fingerprint),
            web.get("/static/{name:cover|face|keyframe}.png", self.picture),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """The room page, with the initial state in a script as the real page has it."""
        room = self._find(request.match_info["room"])
        if room is None:
            raise web.HTTPNotFound(text="no such room")
        state = {"roomInitRes": {"code": 0, "message": "0", "ttl": 1, "data": _room_init(room)}}
        script = json.dumps(state, ensure_ascii=False).replace("<", "\\u003c")
        text = (
            f'<!DOCTYPE html><html lang="zh"><head><meta charset="utf-8"><title>{html.escape(room.title)}'
            f" - {html.escape(room.options.streamer)}</title></head><body><h1>{html.escape(room.title)}</h1>"
            f"<p>{html.escape(room.options.streamer)}: {'on air' if room.on_air else 'off air'}</p>"
            f"<script>window.__NEPTUNE_IS_MY_WAIFU__={script}</script></body></html>"
        )
        return web.Response(text=text, content_type="text/html")

    async def nav(self, request: web.Request) -> web.Response:
        """Who is logged in (any SESSDATA but "expired" counts), and the WBI keys dressed up as picture URLs."""
        base = f"{request.url.origin()}/bfs/wbi"
        wbi = {"img_url": f"{base}/{self._keys.img_key}.png", "sub_url": f"{base}/{self._keys.sub_key}.png"}
        if request.cookies.get("SESSDATA", "expired") == "expired":
            return answer({"isLogin": False, "wbi_img": wbi}, -101, "账号未登录")
        return answer({"isLogin": True, "mid": 1, "uname": "studio", "face": "", "wbi_img": wbi})

    async def fingerprint(self, _: web.Request) -> web.Response:
        """Fresh buvid3 and buvid4."""
        buvid3 = f"{secrets.token_hex(4)}-{secrets.token_hex(2)}-{secrets.token_hex(2)}".upper()
        return answer({"b_3": f"{buvid3}-{secrets.token_hex(8).upper()}infoc", "b_4": f"{buvid3}-{int(time.time())}"})

    async def info_by_room(self, request: web.Request, room: Room) -> web.Response:
        """getInfoByRoom: title, status, category, streamer."""
        pictures = f"{request.url.origin()}/static"
        return answer(
            {
                "room_info": _room_info(room, pictures),
                "anchor_info": {
                    "base_info": {
                        "uname": room.options.streamer,
                        "face": f"{pictures}/face.png",
                        "gender": "保密",
                        "official_info": {"role": -1, "title": "", "desc": "", "is_nft": 0, "nft_dmark": ""},
                    },
                    "live_info": {"level": 1, "level_color": 6406234, "score": 0, "upgrade_score": 1, "rank": ">10000"},
                    "relation_info": {"attention": 0},
                    "medal_info": None,
                    "gift_info": None,
                },
                "news_info": {"uid": room.options.uid, "ctime": "", "content": ""},
                "watched_show": {"switch": True, "num": room.viewers, "text_small": str(room.viewers)},
            }
        )

    async def play_info(self, request: web.Request, room: Room) -> web.Response:
        """getRoomPlayInfo: the nested play URLs of the wanted protocols, formats and codecs; null off air.

        Visitors are not offered the room's ``login_qualities``.
        """
        if "w_rid" in request.query and not self._keys.accepts(request.query.items()):
            return answer(None, -352, "-352")
        data = _room_init(room) | {"all_special_types": [], "playurl_info": None}
        if room.on_air:
            data["playurl_info"] = {
                "conf_json": '{"cdn_rate":10000,"report_interval_sec":150}',
                "playurl": _playurl(request, room),
            }
        return answer(data)

    async def room_init(self, _: web.Request, room: Room) -> web.Response:
        """room_init: the real number behind a short one."""
        return web.json_response({"code": 0, "msg": "ok", "message": "ok", "data": _room_init(room)})

    async def get_info(self, request: web.Request, room: Room) -> web.Response:
        """get_info: the older room information, with its Beijing wall clock."""
        since = datetime.fromtimestamp(room.live_since, _BEIJING) if room.live_since else None
        old = {
            "attention": 0,
            "is_portrait": False,
            "live_time": f"{since:%Y-%m-%d %H:%M:%S}" if since else "0000-00-00 00:00:00",
            "user_cover": f"{request.url.origin()}/static/cover.png",
        }
        data = _room_info(room, f"{request.url.origin()}/static") | old
        return web.json_response({"code": 0, "msg": "ok", "message": "ok", "data": data})

    async def danmu_info(self, request: web.Request, room: Room) -> web.Response:
        """getDanmuInfo: a token and where the chat is (three ports that are all the studio's, which speaks no TLS)."""
        port = request.url.port or 80
        host = {"host": request.url.host, "port": port, "wss_port": port, "ws_port": port}
        return answer(
            {
                "group": "live",
                "business_id": 0,
                "refresh_row_factor": 0.125,
                "refresh_rate": 100,
                "max_delay": 5000,
                "token": self._chat.issue_token(room.chat),
                "host_list": [host],
            }
        )

    async def picture(self, _: web.Request) -> web.Response:
        """A real PNG for covers, faces and key frames."""
        return web.Response(body=_PICTURE, content_type="image/png")

    def _of_room(self, parameter: str, handler: Handler, unknown: int, *, signed: bool = False) -> Any:
        async def handle(request: web.Request) -> web.Response:
            if signed and not self._keys.accepts(request.query.items()):
                return answer(None, -352, "-352")
            wanted = request.query.get(parameter, "")
            if not wanted.isdecimal():
                return answer(None, -400, "请求错误")
            room = self._find(wanted)
            if room is None:
                return answer(None, unknown, "直播间不存在")
            refusal = room.faults.refusal_for("api", None)
            if refusal is not None:
                return web.Response(status=refusal, text="fault on demand")
            return await handler(request, room)

        return handle


def _room_init(room: Room) -> dict[str, Any]:
    return {
        "room_id": room.number,
        "short_id": room.options.short_id,
        "uid": room.options.uid,
        "need_p2p": 0,
        "is_hidden": False,
        "is_locked": False,
        "is_portrait": False,
        "live_status": int(room.on_air),
        "hidden_till": 0,
        "lock_till": 0,
        "encrypted": False,
        "pwd_verified": False,
        "live_time": int(room.live_since) if room.live_since else _OFF_AIR_SINCE,
        "room_shield": 0,
        "is_sp": 0,
        "special_type": 0,
    }


def _room_info(room: Room, pictures: str) -> dict[str, Any]:
    return {
        "uid": room.options.uid,
        "room_id": room.number,
        "short_id": room.options.short_id,
        "title": room.title,
        "cover": f"{pictures}/cover.png",
        "tags": "",
        "background": "",
        "description": "",
        "live_status": int(room.on_air),
        "live_start_time": int(room.live_since) if room.live_since else 0,
        "live_screen_type": 0,
        "lock_status": 0,
        "lock_time": 0,
        "hidden_status": 0,
        "hidden_time": 0,
        "area_id": area_id(room.category),
        "area_name": room.category,
        "parent_area_id": area_id(room.parent_category),
        "parent_area_name": room.parent_category,
        "keyframe": f"{pictures}/keyframe.png",
        "special_type": 0,
        "up_session": room.live_key,
        "pk_status": 0,
        "is_studio": False,
        "online": room.viewers,
        "room_type": {"3-21": 0},
        "live_id_str": room.live_key,
    }


def _playurl(request: web.Request, room: Room) -> dict[str, Any]:
    streams: dict[str, list[dict[str, Any]]] = {}
    codec_parameter, codec_name = _CODECS[room.options.video]
    for protocol, protocol_name, format_parameter, format_name, media_format in _STREAMS:
        wanted = (
            protocol in _list(request, "protocol", "0,1")
            and format_parameter in _list(request, "format", "0,1,2")
            and codec_parameter in _list(request, "codec", "0,1")
        )
        if wanted and media_format in room.options.served_formats:
            codec = _codec(request, room, media_format, codec_name)
            streams.setdefault(protocol_name, []).append({"format_name": format_name, "codec": [codec]})
    return {
        "cid": room.number,
        "g_qn_desc": [{"qn": qn, "desc": text, "hdr_desc": "", "attr_desc": None} for qn, text in _QUALITIES.items()],
        "stream": [{"protocol_name": name, "format": formats} for name, formats in streams.items()],
        "p2p_data": {"p2p": False, "p2p_type": 0, "m_p2p": False, "m_servers": None},
        "dolby_qn": None,
    }


def _codec(request: web.Request, room: Room, media_format: MediaFormat, codec_name: str) -> dict[str, Any]:
    wanted = request.query.get("qn", "150")
    visitor = request.cookies.get("SESSDATA", "expired") == "expired"
    withheld = room.options.login_qualities if visitor else ()
    offered = sorted((qn for qn in room.options.qualities if qn not in withheld), reverse=True)
    # As the platform does: the best quality that is not above the wanted one, else the lowest there is.
    current = next((qn for qn in offered if wanted.isdecimal() and qn <= int(wanted)), offered[-1])
    path = room.media_path(media_format)
    expires = int(time.time() + room.options.url_ttl_s)
    sign = room.urls.sign(path, expires)
    url_info = [
        {
            "host": str(request.url.origin()),
            "extra": urlencode(
                {
                    "expires": expires,
                    "len": 0,
                    "oi": 0,
                    "pt": "web",
                    "qn": current,
                    "trid": secrets.token_hex(16),
                    "sigparams": "cdn,expires,len,oi,pt,qn,trid",
                    "cdn": cdn,
                    "sign": sign,
                    "order": order,
                }
            ),
            "stream_ttl": int(room.options.url_ttl_s),
        }
        for order, cdn in enumerate(_CDNS, 1)
    ]
    return {
        "codec_name": codec_name,
        "current_qn": current,
        "accept_qn": offered,
        "base_url": f"{path}?",
        "url_info": url_info,
        "hdr_qn": None,
        "dolby_type": 0,
        "attr_name": "",
    }


def _list(request: web.Request, name: str, default: str) -> list[str]:
    return request.query.get(name, default).split(",")


def _png(width: int, height: int) -> bytes:
    def part(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    rows = b"".join(b"\0" + bytes((x * 255 // width, y * 255 // height, 160)[c] for x in range(width) for c in range(3))
                    for y in range(height))  # fmt: skip
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")


_PICTURE = _png(64, 36)

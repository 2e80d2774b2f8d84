"""Runs a protocol's codec again over frames that were kept; no connection, no credentials, no clock but the frames' own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from media.chat.message import ChatMessage

from services.danmu.adapters.bilibili import BilibiliCodec
from services.danmu.adapters.chzzk import ChzzkCodec
from services.danmu.adapters.codec import ChatCodec
from services.danmu.adapters.douyin import DouyinCodec
from services.danmu.adapters.douyu import DouyuCodec
from services.danmu.adapters.huya import HuyaCodec
from services.danmu.adapters.kick import KickCodec
from services.danmu.adapters.raw import RECEIVED, RawFrame
from services.danmu.adapters.soop import SoopCodec
from services.danmu.adapters.tiktok import TiktokCodec
from services.danmu.adapters.twitcasting import TwitcastingCodec
from services.danmu.adapters.twitch import TwitchCodec

Clock = Callable[[], int]

_CODECS: Final[dict[str, Callable[[Clock], ChatCodec]]] = {
    "bilibili": BilibiliCodec,
    "chzzk": lambda clock: ChzzkCodec("", clock=clock),
    "douyin": lambda clock: DouyinCodec(0, clock=clock),
    "douyu": lambda clock: DouyuCodec("", clock=clock),
    "huya": lambda clock: HuyaCodec(0, clock=clock),
    "kick": lambda clock: KickCodec(0, clock=clock),
    "soop": lambda clock: SoopCodec("", clock=clock),
    "tiktok": lambda clock: TiktokCodec(0, clock=clock),
    "twitcasting": lambda clock: TwitcastingCodec(clock=clock),
    "twitch": TwitchCodec,
}
"""What a codec knows of its room serves its greeting; these read frames without it. Douyu's gifts have the prices that the frames tell.

Not here: AcFun (what it sends holds the key and is not kept), Bigo (its greeting answers with what the visitor is), and what is polled or
read from two servers (YouTube, Niconico).
"""


class CannotReparse(LookupError):
    """The codec of this kind of chat needs more than its frames."""


class _Moment:
    """The clock of a codec: the time of the frame it is fed."""

    at = 0

    def __call__(self) -> int:
        return self.at


def reparsed(kind: str, frames: Iterable[RawFrame]) -> Iterator[ChatMessage]:
    """The messages in frames that were received, each stamped with the time of its frame; a fresh codec per connection. Raises CannotReparse."""
    make = _CODECS.get(kind)
    if make is None:
        raise CannotReparse(f"chat of kind {kind!r} cannot be parsed again; {', '.join(sorted(_CODECS))} can")
    moment = _Moment()
    connection, codec = 0, make(moment)
    for frame in frames:
        if frame.direction != RECEIVED:
            continue
        if frame.connection != connection:
            connection, codec = frame.connection, make(moment)
        moment.at = frame.at
        for message in codec.feed(frame.data).messages:
            yield message if message.received_at == frame.at else message._replace(received_at=frame.at)

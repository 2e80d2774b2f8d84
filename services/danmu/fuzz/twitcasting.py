"""Fuzzes the codec of TwitCasting's chat."""

from __future__ import annotations

from collections.abc import Callable

from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.twitcasting import TwitcastingCodec
from services.danmu.fuzz.harness import SEPARATOR, run

COMMENT = (
    b'[{"type":"comment","id":42,"message":"hello","createdAt":1750000000000,"author":{"id":"c:ann","name":"Ann","screenName":'
    b'"ann","profileImage":"https://i/p.png","grade":3},"numComments":7}]'
)
GIFT = (
    '[{"id":"3145e5b1.64a7","type":"gift","message":"(+🍡20)","plainMessage":"for you","item":{"name":"お茶ｘ10","image":'
    '"https://i/tea.png","detailImage":"","effectCommand":"flow(1)","showsSenderInfo":true},"sender":{"id":"bob","name":"Bob",'
    '"screenName":"bob","grade":1},"isForMovie":false,"isPaidGift":false,"createdAt":1688725796000}]'
).encode()
SEEDS = (b"[]", COMMENT, GIFT, COMMENT[:-1] + b"," + GIFT[1:], COMMENT + SEPARATOR + COMMENT, b'[{"type":"poll"},5,[]]')


def connect() -> Callable[[bytes], Decoded]:
    """The feed of one connection."""
    return TwitcastingCodec(clock=lambda: 1).feed


if __name__ == "__main__":
    run(connect, SEEDS)

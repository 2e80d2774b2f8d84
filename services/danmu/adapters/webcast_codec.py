"""How a codec of TikTok or Douyin goes through a frame; `webcast` has the wire format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from services.danmu.adapters import protobuf, webcast
from services.danmu.adapters.codec import CodecCounters, Decoded, now_ms
from services.danmu.adapters.combos import Combos
from services.danmu.adapters.messages import ChatMessage
from services.danmu.adapters.protobuf import Fields, InvalidMessage

MAX_FRAME_BYTES: Final = 8 << 20


class WebcastCodec(ABC):
    """What both do. `combos` may be those of the connection before; `clock` gives unix milliseconds."""

    def __init__(self, room_id: int, combos: Combos | None = None, clock: Callable[[], int] = now_ms) -> None:
        self.counters = CodecCounters()
        self._room_id, self._clock = room_id, clock
        self._combos = combos or Combos()

    def feed(self, frame: bytes) -> Decoded:
        """Everything in one frame, and the rows of gifts that have ended meanwhile. Never raises."""
        decoded, now = Decoded(), self._clock()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            return decoded
        try:
            self._push(protobuf.parse(frame), decoded, now)
        except InvalidMessage:
            self.counters.malformed += 1
        except webcast.TooLarge:
            self.counters.oversized += 1
        decoded.messages += [self._priced(message) for message in self._combos.silent(now)]
        return decoded

    @abstractmethod
    def _push(self, push: Fields, decoded: Decoded, now: int) -> None:
        """One push frame. Raises InvalidMessage, webcast.TooLarge."""

    def _priced(self, gift: ChatMessage) -> ChatMessage:
        """A gift in the currency it is told in."""
        return gift

"""What a chat was like: how much was said when, by whom, in which words, what was given, and when it boiled over. In bounded memory."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable
from math import sqrt
from typing import Any, Final

from media.chat.captions import one_line
from media.chat.message import ChatMessage, MessageKind
from media.chat.sketches import Distinct, HeavyHitters
from media.chat.words import words_of

TALKERS, WORDS, GIFTS = 256, 256, 128
"""Places of the sketches; a name or a word takes about a third of a kilobyte, and a service holds hundreds of chats."""
SHOWN_TALKERS, SHOWN_WORDS, SHOWN_GIFTS, SHOWN_HIGHLIGHTS = 50, 50, 20, 10
BUCKET_S, BUCKETS = 10, 720
"""The rate is kept per ten seconds for two hours, and twice as coarse whenever that is not enough."""
MAX_CURRENCIES: Final = 16
APART_S: Final = 60
"""Highlights that lie closer together are one."""
_SPEECH: Final = frozenset({MessageKind.CHAT, MessageKind.SUPER_CHAT})
_VERSION: Final = 1
_MAX_STATE: Final = 8 << 20

Report = dict[str, Any]


class InvalidState(ValueError):
    """Bytes that are no statistics of this version."""


class ChatStatistics:
    """Statistics of one chat, message by message, in any order. `state` keeps it over a restart: going on gives the same."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._first = self._last = 0
        self._bucket_ms = BUCKET_S * 1000
        self._origin: int | None = None
        self._rate: list[int] = []
        self._chatters = Distinct()
        self._talkers, self._words = HeavyHitters(TALKERS), HeavyHitters(WORDS)
        self._gifts = HeavyHitters(GIFTS)
        self._paid: dict[str, list[int]] = {}

    def fold(self, messages: Iterable[ChatMessage]) -> None:
        """Count messages."""
        for message in messages:
            self.add(message)

    def add(self, message: ChatMessage) -> None:
        """Count one message."""
        kind, at = message.kind, message.received_at
        self._kinds[kind] += 1
        if at < self._first or not self._first:
            self._first = at
        self._last = max(self._last, at)
        if message.price > 0 and kind is not MessageKind.SYSTEM:
            self._pay(message)
        if kind in _SPEECH:
            self._count(at)
            who = message.uid or message.user
            # Who is among the talkers was counted as a chatter before.
            if who and not self._talkers.add(who, 1, message.user):
                self._chatters.add(who)
            for word in words_of(message.text):
                self._words.add(word)
        elif kind is MessageKind.GIFT:
            self._gifts.add(message.gift or "?", max(message.quantity, 1))

    def report(self) -> Report:
        """What is known now, as JSON values; times in unix milliseconds, amounts in thousandths of their currency."""
        return {
            "messages": self._kinds.total(),
            "kinds": {str(kind): count for kind, count in sorted(self._kinds.items())},
            "first_ms": self._first,
            "last_ms": self._last,
            "chatters": self._chatters.estimate() if self._rate else 0,
            "rate_from_ms": self._origin or 0,
            "bucket_s": self._bucket_ms // 1000,
            "rate": list(self._rate),
            "talkers": [
                {"uid": one_line(one.key), "user": one_line(one.label), "messages": one.weight, "error": one.error}
                for one in self._talkers.top(SHOWN_TALKERS)
            ],
            "words": [
                {"word": one.key, "messages": one.weight, "error": one.error} for one in self._words.top(SHOWN_WORDS)
            ],
            "gifts": [
                {"gift": one_line(one.key), "count": one.weight, "error": one.error}
                for one in self._gifts.top(SHOWN_GIFTS)
            ],
            "paid": [
                {"currency": one_line(currency), "amount": amount, "payments": payments}
                for currency, (amount, payments) in sorted(self._paid.items())
            ],
            "highlights": self._highlights(),
        }

    def _pay(self, message: ChatMessage) -> None:
        currency = message.currency if message.currency in self._paid or len(self._paid) < MAX_CURRENCIES else "other"
        paid = self._paid.setdefault(currency, [0, 0])
        paid[0] += message.price
        paid[1] += 1

    def _count(self, at: int) -> None:
        if self._origin is None:
            self._origin = at - at % self._bucket_ms
        index = max(at - self._origin, 0) // self._bucket_ms
        while index >= BUCKETS:
            self._rate = [sum(self._rate[n : n + 2]) for n in range(0, len(self._rate), 2)]
            self._bucket_ms *= 2
            index = (at - self._origin) // self._bucket_ms
        if index >= len(self._rate):
            self._rate += [0] * (index + 1 - len(self._rate))
        self._rate[index] += 1

    def _highlights(self) -> list[Report]:
        """The peaks that stand out by more than two standard deviations, highest first, at most one per minute."""
        if len(self._rate) < 6 or self._origin is None:
            return []
        usual = sum(self._rate) / len(self._rate)
        threshold = usual + 2 * sqrt(sum([(count - usual) ** 2 for count in self._rate]) / len(self._rate))
        apart = max(APART_S * 1000 // self._bucket_ms, 1)
        chosen: list[int] = []
        for index in sorted(range(len(self._rate)), key=lambda n: (-self._rate[n], n)):
            if self._rate[index] <= threshold or len(chosen) == SHOWN_HIGHLIGHTS:
                break
            if all(abs(index - other) >= apart for other in chosen):
                chosen.append(index)
        return [
            {
                "at_ms": self._origin + index * self._bucket_ms,
                "messages": self._rate[index],
                "times_usual": round(self._rate[index] / usual, 1),
            }
            for index in chosen
        ]

    def state(self) -> bytes:
        """Everything, compressed: some ten kilobytes."""
        data = {
            "version": _VERSION,
            "kinds": {str(kind): count for kind, count in self._kinds.items()},
            "first": self._first,
            "last": self._last,
            "bucket_ms": self._bucket_ms,
            "origin": self._origin,
            "rate": self._rate,
            "chatters": self._chatters.to_text(),
            "talkers": self._talkers.to_json(),
            "words": self._words.to_json(),
            "gifts": self._gifts.to_json(),
            "paid": self._paid,
        }
        return zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 6)

    @classmethod
    def restore(cls, state: bytes) -> ChatStatistics:
        """What `state` gave. Raises InvalidState, also for a state of another version."""
        made = cls()
        try:
            inflater = zlib.decompressobj()
            text = inflater.decompress(state, _MAX_STATE)
            if not inflater.eof:
                raise InvalidState("statistics that end too soon")
            data = json.loads(text)
            if data["version"] != _VERSION:
                raise InvalidState(f"statistics of version {data['version']!r}")
            made._kinds = Counter({str(kind): int(count) for kind, count in data["kinds"].items()})
            made._first, made._last, made._bucket_ms = int(data["first"]), int(data["last"]), int(data["bucket_ms"])
            made._origin = None if data["origin"] is None else int(data["origin"])
            made._rate = [int(count) for count in data["rate"]][:BUCKETS]
            made._chatters = Distinct.from_text(data["chatters"])
            made._talkers = HeavyHitters.from_json(TALKERS, data["talkers"])
            made._words = HeavyHitters.from_json(WORDS, data["words"])
            made._gifts = HeavyHitters.from_json(GIFTS, data["gifts"])
            made._paid = {str(key): [int(value[0]), int(value[1])] for key, value in data["paid"].items()}
        except InvalidState:
            raise
        except (zlib.error, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise InvalidState(f"not statistics: {type(error).__name__}") from error
        return made

"""The seeds of the fuzz targets pass, whole and damaged, and reach what they are meant for: what is refused at the door finds nothing."""

from __future__ import annotations

import random
from importlib import import_module
from pkgutil import iter_modules

import pytest

from services.danmu import fuzz
from services.danmu.adapters import kinds as spoken
from services.danmu.fuzz.harness import SEPARATOR, check

KINDS = {
    "acfun": {"chat", "gift", "moderation", "stream_closed"},
    "bigo": {"chat", "gift"},
    "bilibili": {
        *("chat", "gift", "super_chat", "membership", "join", "follow"),
        *("system", "moderation", "room_change", "stream_closed"),
    },
    "chzzk": {"chat", "gift", "super_chat", "membership", "moderation", "system"},
    "douyin": {"chat", "follow", "gift", "membership", "stream_closed"},
    "douyu": {"chat", "gift", "membership", "moderation", "stream_closed", "super_chat"},
    "huya": {"chat", "gift", "super_chat"},
    "kick": {"chat", "gift", "membership", "moderation", "room_change", "stream_closed", "system"},
    "niconico": {"chat", "gift", "stream_closed"},
    "soop": {"chat", "gift", "join", "moderation", "stream_closed"},
    "tiktok": {"chat", "follow", "gift", "join", "membership", "stream_closed"},
    "twitcasting": {"chat", "gift"},
    "twitch": {"chat", "gift", "membership", "moderation", "system"},
    "youtube": {"chat", "membership", "moderation", "super_chat"},
}
DAMAGED = 20


def test_every_codec_has_a_target_and_every_target_is_tried() -> None:
    targets = {module.name for module in iter_modules(fuzz.__path__)} - {"harness"}
    assert targets == set(KINDS) == set(spoken())


@pytest.mark.parametrize(("name", "kinds"), KINDS.items())
def test_seeds_become_messages(name: str, kinds: set[str]) -> None:
    target = import_module(f"services.danmu.fuzz.{name}")
    reached: set[str] = set()
    for seed in target.SEEDS:
        frames = seed.split(SEPARATOR)
        check(frames, target.connect())
        feed = target.connect()
        reached |= {message.kind for frame in frames for message in feed(frame).messages}
    assert kinds <= reached


@pytest.mark.parametrize("name", KINDS)
def test_damaged_seeds_do_no_harm(name: str) -> None:
    target, chance = import_module(f"services.danmu.fuzz.{name}"), random.Random(name)
    for seed in target.SEEDS:
        for _ in range(DAMAGED):
            data = bytearray(seed)
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            start = chance.randrange(len(data))
            del data[start : start + chance.randrange(12)]
            check(bytes(data).split(SEPARATOR), target.connect())

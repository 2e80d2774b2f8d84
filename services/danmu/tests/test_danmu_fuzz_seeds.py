"""The seeds of the fuzz targets reach what they are meant for: a target whose seeds are refused at the door finds nothing."""

from __future__ import annotations

from importlib import import_module

import pytest

from services.danmu.fuzz.harness import SEPARATOR, check

KINDS = {
    "acfun": {"chat", "gift", "moderation", "stream_closed"},
    "bigo": {"chat", "gift"},
    "douyin": {"chat", "follow", "gift", "membership", "stream_closed"},
    "douyu": {"chat", "gift", "membership", "moderation", "stream_closed", "super_chat"},
    "huya": {"chat", "gift", "super_chat"},
}


@pytest.mark.parametrize(("name", "kinds"), KINDS.items())
def test_seeds_become_messages(name: str, kinds: set[str]) -> None:
    target = import_module(f"services.danmu.fuzz.{name}")
    fuzz = getattr(target, f"{name.capitalize()}Fuzz")
    reached: set[str] = set()
    for seed in target.SEEDS:
        frames = seed.split(SEPARATOR)
        check(frames, fuzz())
        feed = fuzz()
        reached |= {message.kind for frame in frames for message in feed(frame).messages}
    assert kinds <= reached

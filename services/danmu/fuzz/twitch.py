"""Fuzzes the codec of Twitch chat."""

from __future__ import annotations

from collections.abc import Callable

from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.twitch import TwitchCodec
from services.danmu.fuzz.harness import SEPARATOR, run

SEEDS = (
    b"@display-name=Ann;id=a-2;user-id=7 :ann!ann@ann.tmi.twitch.tv PRIVMSG #c :\x01ACTION waves\x01\r\n",
    b"@badge-info=subscriber/15;badges=moderator/1,subscriber/12;bits=100;color=#FF0000;display-name=Ann;emotes=25:0-4,12-16/"
    b"1902:6-10;id=a-1;room-id=1;tmi-sent-ts=1750000000000;user-id=7 :ann!ann@ann.tmi.twitch.tv PRIVMSG #c :Kappa Keepo Kappa\r\n",
    b"@msg-id=resub;msg-param-cumulative-months=6;msg-param-sub-plan=2000;system-msg=Ann\\shas\\:six :tmi.twitch.tv USERNOTICE #c :hi",
    b"@msg-id=charitydonation;msg-param-donation-amount=550;msg-param-donation-currency=EUR;msg-param-exponent=2 USERNOTICE #c",
    b"@ban-duration=600;target-user-id=9 :tmi.twitch.tv CLEARCHAT #c :bob\r\n@target-msg-id=a CLEARMSG #c :no\r\nPING :x\r\n",
    b":tmi.twitch.tv RECONNECT\r\n"
    + SEPARATOR
    + b"@slow=10 :tmi.twitch.tv ROOMSTATE #c\r\n:tmi.twitch.tv NOTICE * :no",
)


def connect() -> Callable[[bytes], Decoded]:
    """The feed of one connection."""
    return TwitchCodec(clock=lambda: 1).feed


if __name__ == "__main__":
    run(connect, SEEDS)

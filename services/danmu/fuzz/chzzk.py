"""Any bytes as a frame of CHZZK chat: nothing may raise, and every message must survive its line.

``python -m services.danmu.fuzz.chzzk -runs=100000``
"""

from __future__ import annotations

import json
import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports():
    from services.danmu.adapters.chzzk import ChzzkCodec
    from services.danmu.adapters.messages import decode_line, encode_line

COMMANDS = (0, 10100, 93101, 93102, 94005, 94008, 94010)
TYPES = (1, 10, 11, 12, 30)


def one_input(data: bytes) -> None:
    """The input as it is, and as the text, the profile and the extras of a message."""
    codec = ChzzkCodec("N1", clock=lambda: 1)
    inner = data[2:].decode("utf-8", "replace")
    first, second = (*data, 0, 0)[:2]
    entry = {"msg": inner, "profile": inner, "extras": inner, "msgTypeCode": TYPES[second % len(TYPES)], "uid": inner}
    body = {
        "cmd": COMMANDS[first % len(COMMANDS)],
        "bdy": [entry, {**entry, "profile": "{}"}, {**entry, "extras": "{}"}],
    }
    for frame in (data, json.dumps(body).encode()):
        for message in codec.feed(frame).messages:
            assert decode_line(encode_line(message)) == message


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()

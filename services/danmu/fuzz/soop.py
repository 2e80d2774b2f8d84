"""Any bytes as a frame of SOOP chat: nothing may raise, and every message must survive its line.

``python -m services.danmu.fuzz.soop -runs=100000``
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports():
    from services.danmu.adapters.messages import decode_line, encode_line
    from services.danmu.adapters.soop import SoopCodec


def one_input(data: bytes) -> None:
    """The input as it is, and as the body of a packet whose service its first byte chooses."""
    codec = SoopCodec("1", "ticket", clock=lambda: 1)
    body = b"\x0c" + data[1:999_998]
    packet = b"\x1b\t%04d%06d00" % (data[0] if data else 0, len(body)) + body
    for frame in (data, packet):
        for message in codec.feed(frame).messages:
            assert decode_line(encode_line(message)) == message


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()

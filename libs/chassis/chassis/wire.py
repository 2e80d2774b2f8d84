"""A publish that costs the relay half: the header lines are made at once instead of header by header.

The client strips, checks and encodes each header of each message by itself, which was three quarters of the time of a relay that works through
an outbox (46 of 62 µs with 14 headers). Names of headers are ours and need no check; values are checked together.
Format: HPUB and the header block of the NATS client protocol, docs.nats.io/reference/reference-protocols/nats-protocol.
"""

from __future__ import annotations

from collections.abc import Mapping

from nats.aio.client import Client
from nats.errors import ConnectionClosedError, MaxPayloadError

_BREAKS = str.maketrans("\r\n", "  ")


def header_lines(headers: Mapping[str, str]) -> str:
    """The lines of a header block. A line break inside a value becomes a space, as with the client itself."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\r") == lines.count("\n") == len(headers):
        return lines
    return "".join([f"{name}: {value.translate(_BREAKS)}\r\n" for name, value in headers.items()])


async def publish(client: Client, subject: str, lines: str, payload: bytes) -> None:
    """Queue one message behind what the client has queued. Not acknowledged.

    ``subject`` must come from the contracts: nothing here refuses a space in it. Raises ConnectionClosedError without a connection, so that
    no half of a batch waits for the next one, and MaxPayloadError.
    """
    if not client.is_connected or client.is_draining_pubs:
        raise ConnectionClosedError
    block = f"NATS/1.0\r\n{lines}\r\n".encode()
    size = len(block) + len(payload)
    if size > client.max_payload:
        raise MaxPayloadError
    # The client offers no way to hand over a block; its own publish ends in these two calls.
    await client._send_command(b"".join((f"HPUB {subject} {len(block)} {size}\r\n".encode(), block, payload, b"\r\n")))
    if client._flush_queue is not None and client._flush_queue.empty():
        await client._flush_pending()

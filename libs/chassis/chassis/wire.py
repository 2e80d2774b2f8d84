"""A publish that costs the relay a fraction: header lines are made at once, and many messages are one command of the client.

The client strips, checks and encodes each header of each message by itself, which was three quarters of the time of a relay that works through
an outbox (46 of 62 µs with 14 headers). Names of headers are ours and need no check; values are checked together.
Format: HPUB and the header block of the NATS client protocol, docs.nats.io/reference/reference-protocols/nats-protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nats.aio.client import Client
from nats.errors import ConnectionClosedError, MaxPayloadError
from pydantic_core import from_json

_BREAKS = str.maketrans("\r\n", "  ")


def header_lines(headers: Mapping[str, str]) -> str:
    """The lines of a header block. A line break inside a value becomes a space, as with the client itself."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\r") == lines.count("\n") == len(headers):
        return lines
    return "".join([f"{name}: {value.translate(_BREAKS)}\r\n" for name, value in headers.items()])


def stored_header_lines(text: str) -> str:
    """The lines of a header block from a flat JSON object of strings, as PostgreSQL prints a ``jsonb``: ``{"name": "value", "name": "value"}``.

    Without a backslash every quotation mark is part of the notation, so that three replacements do what a parser would, in a sixth of its time.
    """
    if "\\" not in text:
        lines = text[2:-2].replace('": "', ": ").replace('", "', "\r\n")
        if lines and '"' not in lines:
            return lines + "\r\n"
    return header_lines(from_json(text))


async def publish(client: Client, messages: Iterable[tuple[str, str, bytes]]) -> None:
    """Queue messages (subject, header lines, payload) behind what the client has queued, all or none of them. Not acknowledged.

    Subjects must come from the contracts: nothing here refuses a space in them. Raises ConnectionClosedError without a connection, so that
    no half of a batch waits for the next one, and MaxPayloadError.
    """
    if not client.is_connected or client.is_draining_pubs:
        raise ConnectionClosedError
    pieces: list[bytes] = []
    for subject, lines, payload in messages:
        block = f"NATS/1.0\r\n{lines}\r\n".encode()
        size = len(block) + len(payload)
        if size > client.max_payload:
            raise MaxPayloadError
        pieces += (f"HPUB {subject} {len(block)} {size}\r\n".encode(), block, payload, b"\r\n")
    # The client offers no way to hand over a block; its own publish ends in these two calls.
    await client._send_command(b"".join(pieces))
    if client._flush_queue is not None and client._flush_queue.empty():
        await client._flush_pending()

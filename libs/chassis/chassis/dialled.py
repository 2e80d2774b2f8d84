"""How ffmpeg dials an RTMP or SRT address: through a gate, or as it was judged, and never with the address in its arguments.

Its arguments, which every user of the machine may read, name no address: it comes on standard input. Facts about ffmpeg's options:
ffmpeg-formats(1), ffmpeg-protocols(1), ffmpeg-utils(1).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

from yarl import URL

from chassis.accounts import Login
from chassis.egress import RefusedAddress
from chassis.gate import Gate
from chassis.network import Reach, judged_address

PORTS = {"rtmp": 1935, "rtmps": 443, "srt": 0}
"""Schemes that no HTTP client understands, with the port where none is written; an SRT address has to name it."""
PROTOCOLS = "pipe,rtmp,srt,tcp"
LISTED = ("-f", "concat", "-safe", "0", "-auto_convert", "0", "-protocol_whitelist", PROTOCOLS, "-i", "pipe:0")
"""The source is the one entry of a list on standard input. Without ``auto_convert`` media stays as it is until it is muxed."""
_UNQUOTABLE = re.compile(r"[\x00-\x1f\x7f]")
_SRT_PARAMETERS = frozenset({"streamid", "passphrase", "pbkeylen"})


class NotDialled(Exception):
    """No connection is made; the message says why and names no secret."""


class Dialling:
    """What ffmpeg needs for one source: what it reads on standard input (with `LISTED`), and the gate it goes through, if any."""

    def __init__(self, given: bytes, gate: Gate | None) -> None:
        self.given, self.gate = given, gate


@asynccontextmanager
async def dial(
    url: URL, reach: Reach, login: Login, *, stall_s: float, analyze_s: float, srt_latency_ms: int
) -> AsyncIterator[Dialling]:
    """Prepare for one ffmpeg that plays ``url`` while the block runs; ``url`` was judged as written. Raises NotDialled.

    The login's stream key and passphrase are used where it covers the host, in place of what the address says.
    """
    login = login if login.covers(url.raw_host or "") else Login()
    port = url.explicit_port or PORTS[url.scheme]
    if not port:
        raise NotDialled("an SRT address needs a port")
    more = {"analyzeduration": microseconds(analyze_s)}
    if url.scheme == "srt":
        address, options = await _srt(url, port, reach, login, stall_s=stall_s, latency_ms=srt_latency_ms)
        yield Dialling(_listed(address, {**options, **more}), None)
        return
    gate = Gate(reach, url.raw_host or "", port, tls=url.scheme == "rtmps")
    async with gate.open() as door:
        address, options = _rtmp(url, door, login.stream_key)
        yield Dialling(_listed(address, {**options, **more}), gate)


def microseconds(seconds: float) -> str:
    """A time as ffmpeg reads it."""
    return str(round(seconds * 1_000_000))


async def _srt(
    url: URL, port: int, reach: Reach, login: Login, *, stall_s: float, latency_ms: int
) -> tuple[str, dict[str, str]]:
    """SRT runs over UDP, which no gate and no proxy carries: the address is resolved and judged, and given as it was judged."""
    if reach.proxy:
        raise NotDialled("a proxy cannot carry SRT")
    try:
        address = await judged_address(url.raw_host or "", port, reach)
    except RefusedAddress as error:
        raise NotDialled(f"address refused: {error}"[:200]) from None
    except OSError:
        raise NotDialled("the name of the host is unknown") from None
    # Only these: others would make ffmpeg listen, or bind, or wait for ever.
    options = {name: value for name, value in parse_qsl(url.raw_query_string) if name in _SRT_PARAMETERS}
    secrets = {"streamid": login.stream_key, "passphrase": login.passphrase}
    options |= {name: value for name, value in secrets.items() if value}
    options |= {"mode": "caller", "latency": str(latency_ms * 1000)}
    options |= {"timeout": microseconds(stall_s)}
    options |= {"connect_timeout": str(round(reach.connect_timeout_s * 1000))}
    return f"srt://{f'[{address}]' if ':' in address else address}:{port}", options


def _rtmp(url: URL, door: int, key: str) -> tuple[str, dict[str, str]]:
    """Address and options of a stream behind the gate: the server is told the address that was asked for."""
    path = f"{url.raw_path.rstrip('/')}/{key}" if key else url.raw_path
    query = f"{'&' if '?' in path else '?'}{url.raw_query_string}" if url.raw_query_string else ""
    parts = [part for part in path.partition("?")[0].split("/") if part]
    # ffmpeg takes two parts of the path as the application where there are three or more.
    application = "/".join(parts[: 2 if len(parts) > 2 else 1])
    stated = str(url.origin()) + f"/{application}"
    return f"rtmp://127.0.0.1:{door}{path}{query}", {"rtmp_live": "live", "rtmp_tcurl": stated}


def _listed(address: str, options: Mapping[str, str]) -> bytes:
    """A list for ffmpeg's concat demuxer, of one source and its options; raises NotDialled for what no line can hold."""
    lines = ["ffconcat version 1.0", f"file {_quoted(address)}"]
    lines += [f"option {name} {_quoted(value)}" for name, value in options.items()]
    return "\n".join([*lines, ""]).encode()


def _quoted(value: str) -> str:
    """A value as it stands in a list of ffmpeg: ffmpeg-utils(1), "Quoting and escaping"."""
    if _UNQUOTABLE.search(value):
        raise NotDialled("the address holds control characters")
    return "'" + value.replace("'", "'\\''") + "'"

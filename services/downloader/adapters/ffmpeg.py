"""The ffmpeg engine: ffmpeg understands the source, our recorders write the files.

It copies what it reads into one pipe, so that splitting, repair, gaps and recovery are those of every engine. Its arguments, which every
user of the machine may read, name no address: what is dialled comes on its standard input, what we fetch for it has a name without meaning.
Facts about its options: ffmpeg(1), ffmpeg-formats(1), ffmpeg-protocols(1), ffmpeg-bitstream-filters(1).
"""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

import aiohttp
import structlog
from chassis.egress import RefusedAddress, check_url
from chassis.programs import Parting, Running, open_program, workplace
from contracts.engines import FfmpegOptions
from contracts.values import Source
from yarl import URL

from services.downloader.adapters.engine import SourceFailed
from services.downloader.adapters.gate import Gate
from services.downloader.adapters.network import Access, judged_address
from services.downloader.adapters.program_feed import bytes_of, spoken
from services.downloader.adapters.relay import Relay

GRACE_S = 1.0
"""Time to say goodbye to the server; nothing is written any more that could be lost."""
PORTS = {"rtmp": 1935, "rtmps": 443, "srt": 0}
_QUIET = ("-nostdin", "-hide_banner", "-nostats", "-loglevel", "warning")
_FORMATS = "flv,live_flv,mpegts,mov,hls,matroska,aac,mp3,h264,hevc,ogg"
"""What a source may be. Left out: formats whose files name other files that the relay does not rewrite."""
_UNQUOTABLE = re.compile(r"[\x00-\x1f\x7f]")
_BACK = "if(lt(DTS+1/TB,PREV_INDTS),PREV_OUTDTS+max(PREV_INDURATION,0.001/TB)-DTS,PREV_OUTDTS-PREV_INDTS)"
_SHIFT = f"if(eq(PREV_INDTS,NOPTS),0,{_BACK})"
CONTINUOUS = ("-bsf", f"setts=dts='DTS+{_SHIFT}':pts='PTS+{_SHIFT}'")
"""Whoever publishes may begin again at zero inside of a connection. ffmpeg would squeeze all that follows into one moment, as it does with
each source that is not a transport stream itself; steps forward are left to our repair, which tells them."""
PROTOCOLS = "pipe,rtmp,srt,tcp"
LISTED = ("-f", "concat", "-safe", "0", "-auto_convert", "0", "-protocol_whitelist", PROTOCOLS, "-i", "pipe:0")
"""The source is the one entry of a list on standard input. Without ``auto_convert`` media stays as it is until it is muxed."""
_SRT_PARAMETERS = frozenset({"streamid", "passphrase", "pbkeylen"})
_UNFIT = re.compile(r"not compatible with flv|incompatible with output codec|not (currently )?supported", re.IGNORECASE)
log = structlog.get_logger(__name__)


class FfmpegFeed:
    """One ffmpeg per connection. ``unfit`` collects what does not fit into FLV: it is asked for as a transport stream the next time."""

    def __init__(
        self,
        executable: str,
        session: aiohttp.ClientSession,
        access: Access,
        options: FfmpegOptions,
        *,
        quality: str,
        unfit: set[str],
    ) -> None:
        self._executable, self._session, self._access = executable, session, access
        self._options, self._quality = options, quality
        self._unfit, self._place = unfit, ""

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Feed`."""
        try:
            scheme = check_url(source.url, self._access.policy, ("http", "https", *PORTS)).scheme
        except RefusedAddress as error:
            raise SourceFailed(f"address refused: {error}"[:200]) from None
        self._place = source.url.partition("?")[0]
        if scheme in PORTS:
            async with self._dialled(source, scheme) as chunks:
                yield chunks
            return
        relay = Relay(self._session, self._access, source, quality=self._quality)
        async with relay.open() as address:
            hls = ("-f", "hls", *HLS_OPTIONS) if source.protocol == "hls" else ()
            arguments = ["-protocol_whitelist", "http,tcp,crypto", *hls, "-i", address]
            async with self._running(arguments, relay) as chunks:
                yield chunks

    @asynccontextmanager
    async def _dialled(self, source: Source, scheme: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """RTMP and SRT: ffmpeg opens the connection, RTMP through our gate."""
        url = URL(source.url)
        port = url.explicit_port or PORTS[scheme]
        if not port:
            raise SourceFailed("an SRT address needs a port")
        if scheme == "srt":
            address, options = await self._srt(url, port)
            async with self._running(LISTED, None, given=self._listed(address, options)) as chunks:
                yield chunks
            return
        gate = Gate(self._access, url.raw_host or "", port, tls=scheme == "rtmps")
        async with gate.open() as door:
            address, options = _rtmp(url, door)
            async with self._running(LISTED, gate, given=self._listed(address, options)) as chunks:
                yield chunks

    async def _srt(self, url: URL, port: int) -> tuple[str, dict[str, str]]:
        """SRT runs over UDP, which no gate and no proxy carries: the address is resolved and judged, and given as it was judged."""
        if self._access.proxy:
            raise SourceFailed("a proxy cannot carry SRT")
        try:
            address = await judged_address(url.raw_host or "", port, self._access)
        except RefusedAddress as error:
            raise SourceFailed(f"address refused: {error}"[:200]) from None
        except OSError:
            raise SourceFailed("the name of the host is unknown") from None
        # Only these: others would make ffmpeg listen, or bind, or wait for ever.
        options = {name: value for name, value in parse_qsl(url.raw_query_string) if name in _SRT_PARAMETERS}
        options |= {"mode": "caller", "latency": str(self._options.srt_latency_ms * 1000)}
        options |= {"timeout": _microseconds(self._access.stall_s)}
        options |= {"connect_timeout": str(round(self._access.connect_timeout_s * 1000))}
        return f"srt://{f'[{address}]' if ':' in address else address}:{port}", options

    def _listed(self, address: str, options: dict[str, str]) -> bytes:
        """A list for ffmpeg's concat demuxer, of one source and its options; raises SourceFailed for what no line can hold."""
        given = {**options, "analyzeduration": _microseconds(self._options.analyze_s)}
        lines = ["ffconcat version 1.0", f"file {_quoted(address)}"]
        lines += [f"option {name} {_quoted(value)}" for name, value in given.items()]
        return "\n".join([*lines, ""]).encode()

    @asynccontextmanager
    async def _running(
        self, source: Sequence[str], way: Relay | Gate | None, *, given: bytes | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        timeline = CONTINUOUS if given is not None else ()
        arguments = [self._executable, *_QUIET, *self._input(), *source, *timeline, *self._output()]
        parting = Parting(GRACE_S, signal.SIGINT)
        # ffmpeg's own name for it, read for every connection it makes over HTTP. Only this user can read an environment (proc(5)).
        variables = {"http_proxy": way.proxy} if isinstance(way, Relay) else {}
        try:
            with workplace() as folder:
                async with open_program(
                    arguments, folder=folder, parting=parting, variables=variables, given=given
                ) as program:
                    yield self._chunks(program, way)
        except OSError as error:
            raise SourceFailed(f"ffmpeg cannot be started ({type(error).__name__})") from None

    async def _chunks(self, program: Running, way: Relay | Gate | None) -> AsyncIterator[bytes]:
        async for chunk in bytes_of(program, self._access.stall_s + self._options.analyze_s, self._access.stall_s):
            yield chunk
        ended = await program.ended()
        if self._container == "flv" and self._options.container == "auto" and _UNFIT.search(ended.complaints):
            self._unfit.add(self._place)
            raise SourceFailed("a codec does not fit into FLV: a transport stream is made of it")
        if way is not None and way.failure is not None:
            raise way.failure
        if ended.code:
            raise SourceFailed(f"ffmpeg gave up: {spoken(ended.complaints)}")

    @property
    def _container(self) -> str:
        if self._options.container != "auto":
            return self._options.container
        return "ts" if self._place in self._unfit else "flv"

    def _input(self) -> list[str]:
        analyze = _microseconds(self._options.analyze_s)
        return ["-format_whitelist", f"concat,{_FORMATS}", "-analyzeduration", analyze, "-fflags", "+discardcorrupt"]

    def _output(self) -> list[str]:
        audio = {"copy": ("-map", "0:a:0?"), "aac": ("-map", "0:a:0?"), "none": ("-an",)}[self._options.audio]
        codecs = ["-c", "copy", *(("-c:a", "aac") if self._options.audio == "aac" else ())]
        muxer = ["-f", "mpegts"] if self._container == "ts" else ["-f", "flv", "-flvflags", "no_duration_filesize"]
        return ["-map", "0:v:0?", *audio, *codecs, *muxer, "-flush_packets", "1", "pipe:1"]


HLS_OPTIONS = ("-extension_picky", "0", "-allowed_extensions", "ALL", "-allowed_segment_extensions", "ALL")
"""The endings of what the relay serves come from the source and mean nothing."""


def _rtmp(url: URL, door: int) -> tuple[str, dict[str, str]]:
    """Address and options of a stream behind the gate: the server is told the address that was asked for."""
    parts = [part for part in url.raw_path.split("/") if part]
    # ffmpeg takes two parts of the path as the application where there are three or more.
    application = "/".join(parts[: 2 if len(parts) > 2 else 1])
    stated = str(url.origin()) + f"/{application}"
    return f"rtmp://127.0.0.1:{door}{url.raw_path_qs}", {"rtmp_live": "live", "rtmp_tcurl": stated}


def _quoted(value: str) -> str:
    """A value as it stands in a list of ffmpeg: ffmpeg-utils(1), "Quoting and escaping"."""
    if _UNQUOTABLE.search(value):
        raise SourceFailed("the address holds control characters")
    return "'" + value.replace("'", "'\\''") + "'"


def _microseconds(seconds: float) -> str:
    return str(round(seconds * 1_000_000))

"""The ffmpeg engine: ffmpeg understands the source, our recorders write the files.

It copies what it reads into one pipe, so that splitting, repair, gaps and recovery are those of every engine. Its arguments, which every
user of the machine may read, name no address: what is dialled comes on its standard input (`chassis.dialled`), what we fetch for it has a name
without meaning. Facts about its options: ffmpeg(1), ffmpeg-formats(1), ffmpeg-bitstream-filters(1).
"""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import structlog
from chassis.dialled import LISTED, PORTS, NotDialled, dial, microseconds
from chassis.egress import RefusedAddress, check_url
from chassis.gate import Gate, reason_of
from chassis.programs import Parting, Running, open_program, workplace
from contracts.engines import FfmpegOptions
from contracts.values import Selection, Source
from yarl import URL

from services.downloader.adapters.engine import SourceFailed
from services.downloader.adapters.network import Access
from services.downloader.adapters.program_feed import bytes_of, spoken
from services.downloader.adapters.relay import Relay

GRACE_S = 1.0
"""Time to say goodbye to the server; nothing is written any more that could be lost."""
_QUIET = ("-nostdin", "-hide_banner", "-nostats", "-loglevel", "warning")
_FORMATS = "flv,live_flv,mpegts,mov,hls,matroska,aac,mp3,h264,hevc,ogg"
"""What a source may be. Left out: formats whose files name other files that the relay does not rewrite."""
_BACK = "if(lt(DTS+1/TB,PREV_INDTS),PREV_OUTDTS+max(PREV_INDURATION,0.001/TB)-DTS,PREV_OUTDTS-PREV_INDTS)"
_SHIFT = f"if(eq(PREV_INDTS,NOPTS),0,{_BACK})"
CONTINUOUS = ("-bsf", f"setts=dts='DTS+{_SHIFT}':pts='PTS+{_SHIFT}'")
"""Whoever publishes may begin again at zero inside of a connection. ffmpeg would squeeze all that follows into one moment, as it does with
each source that is not a transport stream itself; steps forward are left to our repair, which tells them."""
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
        selection: Selection,
        unfit: set[str],
    ) -> None:
        self._executable, self._session, self._access = executable, session, access
        self._options, self._quality, self._selection = options, quality, selection
        self._unfit, self._place = unfit, ""

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Feed`."""
        try:
            url = check_url(source.url, self._access.policy, ("http", "https", *PORTS))
        except RefusedAddress as error:
            raise SourceFailed(f"address refused: {error}"[:200]) from None
        self._place = source.url.partition("?")[0]
        if url.scheme in PORTS:
            async with self._dialled(url) as chunks:
                yield chunks
            return
        relay = Relay(self._session, self._access, source, quality=self._quality, selection=self._selection)
        async with relay.open() as address:
            hls = ("-f", "hls", *HLS_OPTIONS) if source.protocol == "hls" else ()
            arguments = ["-protocol_whitelist", "http,tcp,crypto", *hls, "-i", address]
            async with self._running(arguments, relay) as chunks:
                yield chunks

    @asynccontextmanager
    async def _dialled(self, url: URL) -> AsyncIterator[AsyncIterator[bytes]]:
        """RTMP and SRT: ffmpeg opens the connection, RTMP through our gate."""
        access, options = self._access, self._options
        dialling = dial(
            url,
            access,
            access.login,
            stall_s=access.stall_s,
            analyze_s=options.analyze_s,
            srt_latency_ms=options.srt_latency_ms,
        )
        try:
            async with dialling as dialled, self._running(LISTED, dialled.gate, given=dialled.given) as chunks:
                yield chunks
        except NotDialled as error:
            raise SourceFailed(str(error)) from None

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
        if isinstance(way, Gate) and way.failure is not None:
            raise SourceFailed(reason_of(way.failure))
        if isinstance(way, Relay) and way.failure is not None:
            raise way.failure
        if ended.code:
            raise SourceFailed(f"ffmpeg gave up: {spoken(ended.complaints)}")

    @property
    def _container(self) -> str:
        if self._options.container != "auto":
            return self._options.container
        return "ts" if self._place in self._unfit else "flv"

    def _input(self) -> list[str]:
        analyze = microseconds(self._options.analyze_s)
        return ["-format_whitelist", f"concat,{_FORMATS}", "-analyzeduration", analyze, "-fflags", "+discardcorrupt"]

    def _output(self) -> list[str]:
        audio = {"copy": ("-map", "0:a:0?"), "aac": ("-map", "0:a:0?"), "none": ("-an",)}[self._options.audio]
        codecs = ["-c", "copy", *(("-c:a", "aac") if self._options.audio == "aac" else ())]
        muxer = ["-f", "mpegts"] if self._container == "ts" else ["-f", "flv", "-flvflags", "no_duration_filesize"]
        return ["-map", "0:v:0?", *audio, *codecs, *muxer, "-flush_packets", "1", "pipe:1"]


HLS_OPTIONS = ("-extension_picky", "0", "-allowed_extensions", "ALL", "-allowed_segment_extensions", "ALL")
"""The endings of what the relay serves come from the source and mean nothing."""

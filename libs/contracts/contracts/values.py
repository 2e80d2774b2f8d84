"""Values that several messages share."""

from __future__ import annotations

from datetime import time
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints

from contracts.message import Value

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Url = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4096)]
Uri = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Text = Annotated[str, StringConstraints(max_length=4096)]
Json = dict[str, Any]


class Strict(Value):
    """A value a person writes: an unknown field is an error, not something to ignore."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TimeWindow(Strict):
    """When recording is allowed. ``end`` before ``start`` reaches over midnight; times are in ``timezone`` (IANA name)."""

    days: tuple[Annotated[int, Field(ge=0, le=6)], ...] = (0, 1, 2, 3, 4, 5, 6)
    start: time
    end: time
    timezone: str = "UTC"


class Filters(Strict):
    """What a live channel must satisfy before it is recorded. Empty lists admit everything; text is compared without case."""

    title_includes: tuple[str, ...] = ()
    title_excludes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    windows: tuple[TimeWindow, ...] = ()


class Processor(StrEnum):
    """What a pipeline step does."""

    REMUX = "remux"
    THUMBNAIL = "thumbnail"
    COPY = "copy"
    UPLOAD = "upload"
    EXECUTE = "execute"


class Step(Strict):
    """One node of a pipeline: it runs when every step in ``after`` has completed and gets their outputs."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
    processor: Processor
    options: Json = Field(default_factory=dict)
    after: tuple[str, ...] = ()


class Pipelines(Strict):
    """The three moments at which files are processed: each segment, each segment with its chat, the whole session."""

    segment: Annotated[tuple[Step, ...], Field(max_length=64)] = ()
    paired: Annotated[tuple[Step, ...], Field(max_length=64)] = ()
    session: Annotated[tuple[Step, ...], Field(max_length=64)] = ()


class EngineName(StrEnum):
    """What fetches the media: our own code, or a program or library behind the same protocol."""

    NATIVE = "native"
    FFMPEG = "ffmpeg"
    STREAMLINK = "streamlink"
    YT_DLP = "yt-dlp"


class Priority(StrEnum):
    """Who goes first when there are more broadcasts than slots."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Network(Strict):
    """How media is fetched. ``proxy`` is ``http://…``, ``socks5://…``, without a password.

    ``account`` names what is kept secret elsewhere: cookies, further headers, the password of the proxy.
    """

    referer: Annotated[str, StringConstraints(max_length=2048)] = ""
    user_agent: Annotated[str, StringConstraints(max_length=512)] = ""
    proxy: Annotated[str, StringConstraints(max_length=512)] = ""
    account: Id | None = None
    ip_version: Literal["any", "4", "6"] = "any"
    allow_invalid_certificate: bool = False
    connect_timeout_s: Annotated[float, Field(ge=0.1, le=120)] | None = None
    stall_s: Annotated[float, Field(ge=0.1, le=600)] | None = None


class Selection(Strict):
    """Which of several sources is taken. Lists are in order of preference; bitrates in bit/s, 0 = no bound; hosts are matched as substrings."""

    formats: Annotated[tuple[str, ...], Field(max_length=16)] = ()
    codecs: Annotated[tuple[str, ...], Field(max_length=16)] = ()
    prefer_cdns: Annotated[tuple[str, ...], Field(max_length=32)] = ()
    block_cdns: Annotated[tuple[str, ...], Field(max_length=32)] = ()
    min_bitrate: Annotated[int, Field(ge=0)] = 0
    max_bitrate: Annotated[int, Field(ge=0)] = 0


class Layer(Strict):
    """One layer of the configuration. What is ``None`` is left to the layer below (streamer → template → platform → global)."""

    check_interval_s: Annotated[float, Field(ge=1, le=86_400)] | None = None
    offline_grace_s: Annotated[float, Field(ge=0, le=3_600)] | None = None
    quality: Annotated[str, StringConstraints(max_length=64)] | None = None
    protocol: Literal["any", "flv", "hls"] | None = None
    segment_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = None
    segment_bytes: Annotated[int, Field(ge=0, le=1 << 40)] | None = None
    record_chat: bool | None = None
    file_template: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    filters: Filters | None = None
    pipelines: Pipelines | None = None
    upload_to: Uri | None = None
    engine: EngineName | None = None
    engine_options: Json | None = None
    network: Network | None = None
    selection: Selection | None = None
    split_on: Annotated[tuple[Literal["title", "category"], ...], Field(max_length=2)] | None = None
    align_to_clock: bool | None = None
    min_segment_bytes: Annotated[int, Field(ge=0, le=1 << 30)] | None = None
    priority: Priority | None = None
    dual_capture: bool | None = None
    record_video: bool | None = None
    keep_raw_chat: bool | None = None


class Effective(Value):
    """The merged configuration of one streamer: every value present."""

    check_interval_s: float = 60.0
    offline_grace_s: float = 60.0
    quality: str = "best"
    protocol: Literal["any", "flv", "hls"] = "any"
    segment_seconds: int = 3600
    segment_bytes: int = 0
    record_chat: bool = True
    file_template: str = "{streamer}/{date}/{time} {title} {index:03}"
    filters: Filters = Filters()
    pipelines: Pipelines = Pipelines(
        segment=(
            Step(id="remux", processor=Processor.REMUX),
            Step(id="thumbnail", processor=Processor.THUMBNAIL, after=("remux",)),
        )
    )
    upload_to: str = ""
    engine: EngineName = EngineName.NATIVE
    engine_options: Json = Field(default_factory=dict)
    network: Network = Network()
    selection: Selection = Selection()
    split_on: tuple[Literal["title", "category"], ...] = ()
    align_to_clock: bool = False
    min_segment_bytes: int | None = None
    priority: Priority = Priority.NORMAL
    dual_capture: bool = False
    record_video: bool = True
    keep_raw_chat: bool = False


class Chat(Value):
    """How to reach the chat of a channel: the protocol and what its driver needs. Never a token."""

    kind: Name
    descriptor: Json = Field(default_factory=dict)


class Source(Value):
    """One way to fetch a live stream; protocol ``page`` is a web page that an engine resolves itself.

    ``priority``: lower is better; ``bitrate``: bit/s or 0 when unknown.
    """

    url: Url
    protocol: Literal["flv", "hls", "rtmp", "srt", "page"]
    container: Literal["flv", "ts", "fmp4", "unknown"] = "unknown"
    codec: str = ""
    quality: str = ""
    bitrate: int = 0
    priority: int = 0
    headers: dict[str, str] = Field(default_factory=dict)


class Artifact(Value):
    """A finished file. ``uri`` is absolute (``file:///…`` or ``s3://…``); ``size`` in bytes; ``sha256`` in hex, empty when not computed."""

    uri: Uri
    media_type: str
    size: int
    sha256: str = ""


class EndReason(StrEnum):
    """Why something that was going on is over."""

    OFFLINE = "offline"
    STOPPED = "stopped"
    REMOVED = "removed"
    FILTERED = "filtered"
    SOURCE_ENDED = "source_ended"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class Problem(Value):
    """RFC 9457 problem details, also what a rejected command carries. ``type`` is a URI reference."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    instance: str | None = None
    errors: tuple[Json, ...] = ()
    trace_id: str | None = None

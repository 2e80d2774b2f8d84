"""The options of each engine, as a person writes them into ``engine_options``: ``{"ffmpeg": {"audio": "aac"}}``.

They are kept by engine, so that the engine and its options may come from different layers and never meet the wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from contracts.values import EngineName, Json, Strict

Short = Annotated[str, StringConstraints(max_length=256)]


class NativeOptions(Strict):
    """How HLS is fetched: segments at a time, and attempts for each.

    A segment that is still on its way is given up when ``skip_after_segments`` later ones are here, or when later ones have waited for it
    ``skip_after_s``; 0 is never, with both the recording waits until its download fails. ``low_latency``: parts of segments as soon as they
    are announced.
    """

    segment_concurrency: Annotated[int, Field(ge=1, le=32)] | None = None
    segment_attempts: Annotated[int, Field(ge=1, le=20)] | None = None
    skip_after_segments: Annotated[int, Field(ge=0, le=500)] = 10
    skip_after_s: Annotated[float, Field(ge=0, le=3600)] = 5.0
    low_latency: bool = False


class FfmpegOptions(Strict):
    """``container``: what ffmpeg hands over, ``auto`` is FLV unless a codec does not fit into it. ``audio``: copied, made AAC, or left out.

    ``analyze_s``: media looked at before the start; ``srt_latency_ms``: buffer of an SRT connection.
    """

    container: Literal["auto", "flv", "ts"] = "auto"
    audio: Literal["copy", "aac", "none"] = "copy"
    analyze_s: Annotated[float, Field(ge=0.1, le=30)] = 2.0
    srt_latency_ms: Annotated[int, Field(ge=0, le=60_000)] = 200


class StreamlinkOptions(Strict):
    """``stream``: Streamlink's name for what to play, instead of the wanted quality. ``plugin``: options of the site's plugin, never secrets."""

    stream: Short = ""
    plugin: Annotated[dict[Short, Short | int | float | bool], Field(max_length=32)] = Field(default_factory=dict)


class YtDlpOptions(Strict):
    """``format``: yt-dlp's format selector, instead of the wanted quality. ``player``: what then plays the address that was found."""

    format: Short = ""
    player: Literal["auto", "native", "ffmpeg"] = "auto"


OPTIONS: Mapping[EngineName, type[Strict]] = {
    EngineName.NATIVE: NativeOptions,
    EngineName.FFMPEG: FfmpegOptions,
    EngineName.STREAMLINK: StreamlinkOptions,
    EngineName.YT_DLP: YtDlpOptions,
}
_SECRET = ("password", "passwd", "token", "cookie", "secret", "authorization", "auth-", "session-id", "api-key")


class BadOptions(ValueError):
    """Options that no engine reads; the message names the one and says what there is."""


class EngineOptions(Strict):
    """The options of all engines, with their defaults where nothing is said."""

    native: NativeOptions = NativeOptions()
    ffmpeg: FfmpegOptions = FfmpegOptions()
    streamlink: StreamlinkOptions = StreamlinkOptions()
    yt_dlp: YtDlpOptions = Field(default=YtDlpOptions(), alias="yt-dlp")


def options_of(written: Json) -> EngineOptions:
    """Read what a person wrote; raises BadOptions."""
    try:
        options = EngineOptions.model_validate(written)
    except ValidationError as error:
        raise BadOptions(_explained(error)) from None
    for name in options.streamlink.plugin:
        if any(word in name.lower() for word in _SECRET):
            raise BadOptions(
                f"streamlink.plugin.{name} looks like a secret; store it as a credential and name it in network.account"
            )
    return options


def _explained(error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{path}: {first['msg']}"
    parent = str(first["loc"][0])
    known = OPTIONS[EngineName(parent)].model_fields if len(first["loc"]) > 1 else [name.value for name in EngineName]
    return f"{path} is not known; there are {', '.join(known)}"

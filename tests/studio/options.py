"""What a room, a chat message and a fault may look like: the validated bodies of the control API."""

from __future__ import annotations

import zlib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MediaFormat = Literal["flv", "ts", "fmp4"]


class RoomOptions(BaseModel):
    """A room as it was ordered; times in seconds, rates in kbit/s. Only an off-air room can be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field(default="Studio test card", max_length=500)
    category: str = Field(default="Test cards", max_length=100)
    parent_category: str = Field(default="Technology", max_length=100)
    streamer: str = Field(default="Studio", max_length=100)
    uid: int = Field(default=9001, ge=1)
    number: int | None = Field(default=None, ge=1)
    short_id: int = Field(default=0, ge=0)
    qualities: tuple[int, ...] = Field(default=(10000,), min_length=1, max_length=10)
    login_qualities: tuple[int, ...] = Field(default=(), max_length=10)

    source: Literal["encoder", "loop", "unpaced"] = "encoder"
    formats: tuple[MediaFormat, ...] = Field(default=("flv", "ts", "fmp4"), min_length=1)
    width: int = Field(default=320, ge=16, le=3840, multiple_of=2)
    height: int = Field(default=180, ge=16, le=2160, multiple_of=2)
    fps: int = Field(default=15, ge=1, le=120)
    gop_s: float = Field(default=1.0, gt=0, le=10)
    video_kbps: int = Field(default=300, ge=20, le=100_000)
    audio_kbps: int = Field(default=64, ge=16, le=320)
    video: Literal["h264", "hevc"] = "h264"
    audio: bool = True
    segment_s: float = Field(default=1.0, ge=0.2, le=20)
    window: int = Field(default=6, ge=2, le=100)

    total_bytes: int = Field(default=64 << 20, ge=1)
    off_air_after: bool = False
    linger_s: float = Field(default=30.0, ge=0)
    url_ttl_s: float = Field(default=3600.0, gt=0)
    required_headers: dict[str, str] = Field(default_factory=dict)
    chat_per_second: float = Field(default=0.0, ge=0, le=10_000)

    @model_validator(mode="after")
    def _flv_is_always_made(self) -> RoomOptions:
        if "flv" not in self.formats:
            raise ValueError("formats must contain flv: every room is fed through its FLV output")
        return self

    @property
    def served_formats(self) -> tuple[MediaFormat, ...]:
        """The formats that this source can really serve: a loop is replayed as FLV only."""
        return self.formats if self.source == "encoder" else ("flv",)

    @property
    def bandwidth(self) -> int:
        """Bits per second, as a master playlist announces it."""
        return (self.video_kbps + (self.audio_kbps if self.audio else 0)) * 1000

    def number_for(self, room_id: str) -> int:
        """The Bilibili room number: as ordered, or the id itself when it is one, or a stable hash of it."""
        if self.number is not None:
            return self.number
        return int(room_id) if room_id.isdecimal() else zlib.crc32(room_id.encode()) % 9_000_000 + 1_000_000


class ChatMessage(BaseModel):
    """One message to the room's chat; prices of gifts and guards in gold coins, of super chats in yuan."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["chat", "gift", "super_chat", "guard", "raw"] = "chat"
    text: str = Field(default="hello", max_length=10_000)
    user: str = Field(default="viewer", max_length=200)
    uid: int = Field(default=1, ge=0)
    color: int = Field(default=0xFFFFFF, ge=0, le=0xFFFFFF)
    mode: Literal[1, 4, 5] = 1
    emoticon: bool = False
    gift_name: str = Field(default="辣条", max_length=100)
    count: int = Field(default=1, ge=1)
    price: int | None = Field(default=None, ge=0)
    seconds: int = Field(default=60, ge=1)
    level: Literal[1, 2, 3] = 3
    message: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _raw_has_a_message(self) -> ChatMessage:
        if (self.kind == "raw") != (self.message is not None):
            raise ValueError("kind raw, and only raw, takes the whole JSON as `message`")
        return self


class Fault(BaseModel):
    """A fault on demand; which of the other fields count is in the README's table of faults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal[
        "drop",
        "stall",
        "status",
        "timestamp_jump",
        "repeated_headers",
        "resize",
        "truncated_tag",
        "slow_body",
        "chat_drop",
        "expired_url",
    ]
    seconds: float | None = Field(default=None, gt=0)
    status: int = Field(default=404, ge=400, le=599)
    n: int = Field(default=1, ge=1)
    target: Literal["media", "flv", "hls", "api"] = "media"
    cdn: str | None = None
    ms: int = Field(default=0, ge=-(2**31), le=2**31)
    bytes_per_s: int = Field(default=10_000, ge=1)
    width: int = Field(default=160, ge=16, le=3840, multiple_of=2)
    height: int = Field(default=90, ge=16, le=2160, multiple_of=2)


class SinkFailure(BaseModel):
    """The next `times` requests of a sink are answered with `status`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    times: int = Field(ge=0)
    status: int = Field(default=500, ge=300, le=599)

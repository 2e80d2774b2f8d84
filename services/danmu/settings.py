"""Settings of the chat service (prefix ``DANMU_``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from chassis.settings import ServiceSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class DanmuSettings(ServiceSettings):
    """How many chats a replica holds, where their files go, and how long a file waits."""

    model_config = SettingsConfigDict(env_prefix="DANMU_", extra="ignore", env_nested_delimiter="__")

    service: str = "danmu"
    storage_uri: Annotated[str, Field(max_length=2000)] = ""
    """Where finished files go: ``file:///…`` or ``s3://bucket/prefix``. Empty: ``<data_dir>/chat``."""
    concurrent_chats: Annotated[int, Field(ge=1, le=2000)] = 200
    """Sessions whose chat this replica holds at the same time."""
    poll_s: Annotated[float, Field(gt=0, le=60)] = 0.5
    """How often the cut points are read again, besides after each change made through this replica."""
    linger_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """How long the file of a finished segment waits for the next segment, which gets the chat in between."""
    straggler_s: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """After the recording is over: how long to wait for a segment that was not heard of yet."""
    successor_s: Annotated[float, Field(ge=0, le=10)] = 5.0
    """When this replica is stopped: how long to wait for another one that takes a chat over. 0 where there is only one replica."""
    waiting_lines: Annotated[int, Field(ge=100, le=10_000_000)] = 50_000
    """Lines kept while no segment is being recorded; the oldest go first."""
    live_lines_per_s: Annotated[int, Field(ge=0, le=10_000)] = 50
    """Lines of one session that are passed on to browsers per second; the files hold all of them."""
    statistics_s: Annotated[float, Field(ge=0, le=14)] = 10.0
    """How often the statistics of a running chat are told, while something is said; 0 = only at its end. The gateway forgets after 15 s."""
    raw_mb: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Where the frames of a chat are kept: at most so many compressed MB of them, of one owner of one session."""
    sources: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Options of single drivers, e.g. ``DANMU_SOURCES__BILIBILI__LIVE_API=http://127.0.0.1:9000``."""

    @property
    def artifacts(self) -> str:
        """The base URI of finished files."""
        return self.storage_uri or (self.data_dir.absolute() / "chat").as_uri()

    @property
    def journals(self) -> Path:
        """The folder of what was received and is in no finished file yet."""
        return self.data_dir.absolute() / "danmu"

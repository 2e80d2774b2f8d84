"""Settings of the monitor (prefix ``MONITOR_``)."""

from __future__ import annotations

from typing import Annotated

from chassis.settings import ServiceSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class MonitorSettings(ServiceSettings):
    """How platforms are asked."""

    model_config = SettingsConfigDict(env_prefix="MONITOR_", extra="ignore", env_nested_delimiter="__")

    service: str = "monitor"
    probe_timeout_s: Annotated[float, Field(gt=0, le=300)] = 20.0
    """A check that takes longer counts as failed."""
    concurrent_probes: Annotated[int, Field(ge=1, le=1000)] = 32
    """Checks that run at the same time in this replica."""
    platforms: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Options of single adapters, e.g. ``MONITOR_PLATFORMS__BILIBILI__API=http://127.0.0.1:9000``."""
    ffmpeg: str = ""
    """The ffmpeg that tries RTMP and SRT addresses. Empty: the packaged one."""

"""Settings of the scheduler (prefix ``SCHEDULER_``)."""

from __future__ import annotations

from typing import Annotated

from chassis.settings import ServiceSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class SchedulerSettings(ServiceSettings):
    """How eagerly channels are checked beyond what each streamer's own configuration says."""

    model_config = SettingsConfigDict(env_prefix="SCHEDULER_", extra="ignore", env_nested_delimiter="__")

    service: str = "scheduler"
    partitions: Annotated[int, Field(ge=1, le=256)] = 8
    """Streamers are spread over this many leases; with several replicas each holds some of them. The same on all replicas."""
    jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the interval by which checks are spread, so that many streamers do not ask at once."""
    first_check_within_s: Annotated[float, Field(ge=0)] = 0.5
    """A new or newly started streamer is checked within this time."""
    refresh_s: Annotated[float, Field(gt=0)] = 5.0
    """How often the list of streamers is read again, besides after each change made through this replica."""

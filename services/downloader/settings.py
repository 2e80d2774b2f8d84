"""Settings of the downloader (prefix ``DOWNLOADER_``)."""

from __future__ import annotations

from typing import Annotated

from chassis.settings import ServiceSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class DownloaderSettings(ServiceSettings):
    """How much this replica records, how patiently, and where the files go."""

    model_config = SettingsConfigDict(env_prefix="DOWNLOADER_", extra="ignore", env_nested_delimiter="__")

    service: str = "downloader"
    slots: Annotated[int, Field(ge=0, le=1000)] = 8
    """Recordings that run at the same time in this replica; others wait for a replica with a free slot. May be changed at run time."""
    extra_high_slots: Annotated[int, Field(ge=0, le=1000)] = 2
    """Recordings of high priority that run beyond that. May be changed at run time."""
    queue_freshness_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    """After a longer wait for a slot the monitor is asked anew before anything is recorded: the broadcast may be over."""
    storage_uri: str = ""
    """Where finished files go: ``file:///folder`` or ``s3://bucket/prefix``. Empty: ``recordings`` below ``data_dir``."""
    stall_s: Annotated[float, Field(gt=0, le=600)] = 15.0
    """A connection or playlist that brings nothing for this long is given up and made anew."""
    connect_timeout_s: Annotated[float, Field(gt=0, le=120)] = 10.0
    """How long a connection may take to be made."""
    reconnect_base_s: Annotated[float, Field(gt=0, le=60)] = 0.5
    """Delay before the second attempt to reconnect (the first is made at once); doubles with each further one."""
    reconnect_cap_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    """The longest delay between two attempts to reconnect."""
    give_up_s: Annotated[float, Field(gt=0, le=86_400)] = 120.0
    """Without any media for this long the recording ends as failed, although the channel is said to be live."""
    refresh_after_failures: Annotated[int, Field(ge=1, le=100)] = 3
    """After this many failures in a row the monitor is asked for fresh sources; at once when an address has expired."""
    source_freshness_s: Annotated[float, Field(ge=0, le=600)] = 20.0
    """Sources that the monitor published at most this long ago are used without asking it again."""
    resolve_timeout_s: Annotated[float, Field(gt=0, le=300)] = 25.0
    """How long the monitor may take to answer with sources."""
    segment_concurrency: Annotated[int, Field(ge=1, le=32)] = 5
    """HLS segments of one recording that are downloaded at the same time."""
    segment_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    """Attempts for one HLS segment, key or playlist before it counts as lost."""
    ffmpeg: str = ""
    """The ffmpeg that plays what only ffmpeg can. Empty: the packaged one."""
    min_segment_bytes: Annotated[int, Field(ge=0, le=1 << 30)] = 16_384
    """Finished files smaller than this are discarded: a torn start, not a recording."""
    hash_max_bytes: Annotated[int, Field(ge=0)] = 256 << 20
    """Files up to this size get a SHA-256 when they are finished, in a thread; larger ones go without."""
    min_free_mb: Annotated[int, Field(ge=0)] = 500
    """No recording begins with less free space than this (MB), and a running one ends when half of it is left."""
    min_free_percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    """The same in percent of the disk; whichever is more holds."""
    warn_free_mb: Annotated[int, Field(ge=0)] = 2000
    """Less free space than this (MB) is told."""
    warn_free_percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    """The same in percent of the disk; whichever is more holds."""
    disk_every_s: Annotated[float, Field(gt=0, le=600)] = 2.0
    """How often the folder for recordings is looked at."""
    storage_marker: Annotated[str, Field(max_length=255, pattern=r"^[^/\x00]*$")] = ""
    """The name of a file that must be in the folder for recordings: it is not there when the volume is not mounted. Empty: not looked for."""
    breaker_failures: Annotated[int, Field(ge=1, le=1000)] = 5
    """Recordings of one engine configuration that fail to begin in a row, before nothing more begins with it for a while."""
    breaker_cool_down_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """How long that while is; then one recording tries."""
    lost_after_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """How long the end of a recording waits for a file on another machine before that file counts as lost with it."""
    hand_over_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """How long a recording goes on after SIGTERM so that another replica can hold its media first. Below ``stop_timeout_s``."""
    standby_max_mb: Annotated[int, Field(ge=1)] = 512
    """Media of one recording (MB) that a standby holds in unnamed files below ``data_dir``; the oldest goes first."""
    stream_to_storage: bool = False
    """With a bucket: send files while they are written, and write none here. Needs credentials in the ``AWS_*`` variables."""
    stream_part_mb: Annotated[int, Field(ge=5, le=1024)] = 8
    """Size of a part (MiB) that is sent; what is not sent yet is lost when the process is killed."""
    stream_buffer_mb: Annotated[int, Field(ge=20)] = 64
    """Media of one file (MiB) in memory at most; a bucket that stays away for longer than that ends the recording."""
    poll_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    """How often stop and cut requests made through other replicas are looked for, and how often progress is told."""
    salvage_every_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """How often this replica looks for files of its own that another replica's recording is missing."""

"""Settings of the pipeline (prefix ``PIPELINE_``). Credentials of the object store come from the usual ``AWS_…`` variables."""

from __future__ import annotations

from typing import Annotated

from chassis.settings import ServiceSettings
from contracts.pipeline import ReclaimUploaded
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class PipelineSettings(ServiceSettings):
    """What jobs may do, where their files go and how stubborn they are."""

    model_config = SettingsConfigDict(env_prefix="PIPELINE_", extra="ignore", env_nested_delimiter="__")

    service: str = "pipeline"
    concurrency: Annotated[int, Field(ge=1, le=64)] = 2
    """Jobs at the same time in this replica."""
    ffmpeg: str = ""
    """Path of ffmpeg; empty: the one that comes with the ``imageio-ffmpeg`` package."""
    niceness: Annotated[int, Field(ge=0, le=19)] = 10
    """By how much programs yield the processor to everything else: recording must never wait for post-processing."""
    job_timeout_s: Annotated[float, Field(gt=0)] = 3600.0
    """A job that takes longer has failed."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """A job that was begun this often without an end has failed; a crash of the machine counts, a hand-over does not."""
    retry_base_job_s: Annotated[float, Field(gt=0)] = 2.0
    """Seconds before the first repetition of a job; doubled each time, at most five minutes."""
    cancel_poll_s: Annotated[float, Field(gt=0)] = 1.0
    """How soon a running job notices that another replica cancelled it."""
    storage_uri: str = ""
    """Where outputs go (``file:///…`` or ``s3://…``); empty: beside the file they are made from."""
    input_roots: tuple[str, ...] = ()
    """Folders and buckets, besides ``data_dir`` and ``storage_uri``, whose files may be named in a run planned by hand."""
    copy_root: str = ""
    """Folder or bucket below which ``copy`` steps write; empty: such steps fail."""
    reclaim_roots: tuple[str, ...] = ()
    """Folders and buckets (``file:///…``, ``s3://…``) that files of finished sessions may be removed from; empty: nothing is ever removed."""
    reclaim_keep_days: Annotated[float, Field(ge=0)] = 0.0
    """Sessions that finished earlier go; 0: age is no reason."""
    reclaim_max_total_gb: Annotated[float, Field(ge=0)] = 0.0
    """The oldest sessions go until this much is left; 0: no limit."""
    reclaim_min_free_mb: Annotated[int, Field(ge=0)] = 0
    """The oldest sessions go until this much is free on the disk of the roots; 0: no limit."""
    reclaim_only_uploaded: ReclaimUploaded = "no"
    """What must have been uploaded before a session goes: nothing (``no``), its videos (``media``), every file of it (``all``)."""
    reclaim_protect_hours: Annotated[float, Field(ge=0)] = 24.0
    """Sessions that finished less than this ago never go."""
    reclaim_every_s: Annotated[float, Field(gt=0)] = 300.0
    """How often the policy is looked at."""
    allow_execute: tuple[str, ...] = ()
    """Absolute paths of the programs ``execute`` steps may run; empty: such steps fail."""

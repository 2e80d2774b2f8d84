"""Settings of the uploader (prefix ``UPLOADER_``). Credentials of the object store come from the usual ``AWS_…`` variables."""

from __future__ import annotations

from typing import Annotated

from chassis.settings import ServiceSettings
from pydantic import Field
from pydantic_settings import SettingsConfigDict


class UploaderSettings(ServiceSettings):
    """Where uploads may go and how stubborn they are."""

    model_config = SettingsConfigDict(env_prefix="UPLOADER_", extra="ignore", env_nested_delimiter="__")

    service: str = "uploader"
    roots: tuple[str, ...] = ()
    """Folders (``file:///…``) below which uploads may be written; without any only ``s3://`` destinations are accepted."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 3
    """Uploads at the same time in this replica."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 10
    """An upload that was interrupted this often has failed; it goes on from where it was each time."""
    retry_base_upload_s: Annotated[float, Field(gt=0)] = 2.0
    """Seconds before the first repetition; doubled each time, at most five minutes."""

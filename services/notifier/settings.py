"""Settings of the notifier (prefix ``NOTIFIER_``)."""

from __future__ import annotations

from typing import Annotated

from chassis.settings import ServiceSettings
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict


class NotifierSettings(ServiceSettings):
    """How stubborn deliveries are and what is too old to be told."""

    model_config = SettingsConfigDict(env_prefix="NOTIFIER_", extra="ignore", env_nested_delimiter="__")

    service: str = "notifier"
    secret_key: SecretStr = Field(default=SecretStr(""), validate_default=True)
    """The system key: opens the addresses that the gateway sealed and keeps the data keys. Required."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 8
    """Deliveries at the same time in this replica."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 8
    """A notification that could not be delivered this often goes to the dead letters."""
    retry_base_delivery_s: Annotated[float, Field(gt=0, le=300)] = 1.0
    """The n-th failure is followed by a pause of this many seconds times 2^n, at most five minutes."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 15.0
    """How long one attempt may take."""
    max_event_age_s: Annotated[float, Field(gt=0)] = 86_400.0
    """Older events are history: nobody is told of them, for instance when a log is republished."""
    keep_failed_days: Annotated[float, Field(gt=0)] = 30.0
    """How long the event of a failed notification is kept for another try."""

    @field_validator("secret_key")
    @classmethod
    def _secret_key_is_set(cls, key: SecretStr) -> SecretStr:
        if not key.get_secret_value():
            raise ValueError("addresses of targets are sealed with it: see `aircheck new-key`")
        return key

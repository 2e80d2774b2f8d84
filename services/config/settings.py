"""Settings of the config service (prefix ``CONFIG_``)."""

from __future__ import annotations

from chassis.settings import ServiceSettings
from pydantic_settings import SettingsConfigDict


class ConfigSettings(ServiceSettings):
    """Nothing beyond what every service has: what is configured here is state, not settings."""

    model_config = SettingsConfigDict(env_prefix="CONFIG_", extra="ignore", env_nested_delimiter="__")

    service: str = "config"

"""Settings of the gateway (prefix ``GATEWAY_``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from chassis.settings import ServiceSettings
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

MIN_PASSWORD, MAX_PASSWORD = 10, 256
"""Characters."""


class GatewaySettings(ServiceSettings):
    """Where the gateway listens, how long logins last, and how it projects."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", extra="ignore", env_nested_delimiter="__")

    service: str = "gateway"
    secret_key: SecretStr = Field(default=SecretStr(""), validate_default=True)
    """The system key: seals secrets for other services; the key that signs access tokens is derived from it. Required."""
    pool_size: Annotated[int, Field(ge=4, le=100)] = 10
    """The projector, a rebuild and the requests share the pool."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8720
    """Where the API and the status page answer; 0 chooses a free port."""
    trusted_proxies: str = ""
    """Comma separated addresses whose X-Forwarded-For and X-Forwarded-Proto are believed; empty: nobody's."""
    admin_password: SecretStr = SecretStr("")
    """The password of ``admin`` at the first start; empty: one is made and written to ``made_password_file``."""
    made_password_file: Path | None = None
    """Default: ``<data_dir>/admin-password``, readable by its owner only. (``ADMIN_PASSWORD_FILE`` is read, as for every secret.)"""
    access_token_s: Annotated[int, Field(ge=30, le=86_400)] = 900
    refresh_token_s: Annotated[int, Field(ge=300, le=365 * 86_400)] = 30 * 86_400
    command_wait_s: Annotated[float, Field(ge=0, le=60)] = 5.0
    """How long a change waits for its outcome before it answers 202."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=64 << 20)] = 1 << 20
    ring_events: Annotated[int, Field(ge=100, le=1_000_000)] = 5_000
    """Recent events kept in memory for clients that come back."""
    client_queue: Annotated[int, Field(ge=10, le=1_000_000)] = 1_000
    """Messages that may wait for one slow client before it is dropped."""
    max_clients: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Open event streams and WebSockets of this replica."""
    project: bool = True
    """Whether this replica may become the projector."""
    projector_batch: Annotated[int, Field(ge=1, le=5_000)] = 1_000
    """Events in one transaction of the projector at most."""
    heal_grace_s: Annotated[float, Field(ge=0, le=600)] = 3.0
    """How long a stream may miss a version before its owner is asked to publish it again."""
    argon2_memory_kib: Annotated[int, Field(ge=8_192, le=1 << 20)] = 19_456
    argon2_time_cost: Annotated[int, Field(ge=1, le=20)] = 2

    @field_validator("secret_key")
    @classmethod
    def _secret_key_is_set(cls, key: SecretStr) -> SecretStr:
        if not key.get_secret_value():
            raise ValueError("the gateway signs tokens and seals secrets with it: see `aircheck new-key`")
        return key

    @field_validator("admin_password")
    @classmethod
    def _admin_password_is_one(cls, password: SecretStr) -> SecretStr:
        # Here and not at the first start alone, where the gateway would end again and again and only its log would say why.
        if password.get_secret_value() and not MIN_PASSWORD <= len(password.get_secret_value()) <= MAX_PASSWORD:
            raise ValueError(f"the password of admin has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
        return password

    @property
    def password_file(self) -> Path:
        """Where a generated password of ``admin`` is handed over."""
        return self.made_password_file or self.data_dir / "admin-password"

"""Settings from the environment, from files, and how they are shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from chassis.handlers import Handlers
from chassis.service import Service, main
from chassis.settings import ServiceSettings, load, redacted
from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict


class SampleSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="SAMPLE_", extra="ignore", env_nested_delimiter="__")
    service: str = "config"
    limits: dict[str, int] = Field(default_factory=dict)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_DATABASE_DSN", "postgresql://u:pw@host/db")


def test_values_come_from_the_environment_with_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_POOL_SIZE", "9")
    monkeypatch.setenv("SAMPLE_LIMITS__CPU", "3")
    settings = load(SampleSettings)
    assert (settings.pool_size, settings.limits) == (9, {"cpu": 3})
    assert settings.database_dsn.get_secret_value() == "postgresql://u:pw@host/db"


@pytest.mark.parametrize("field", ["database_dsn", "nats_password", "secret_key"])
def test_a_file_gives_the_value_and_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, field: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    monkeypatch.setenv(f"SAMPLE_{field.upper()}", "from the environment")
    monkeypatch.setenv(f"SAMPLE_{field.upper()}_FILE", str(secret))
    assert getattr(load(SampleSettings), field).get_secret_value() == "from a file"
    assert getattr(load(SampleSettings, **{field: "given"}), field).get_secret_value() == "given"


def test_a_file_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAMPLE_SECRET_KEY_FILE", str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError):
        load(SampleSettings)


def test_every_problem_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAMPLE_DATABASE_DSN")
    monkeypatch.setenv("SAMPLE_POOL_SIZE", "1")
    monkeypatch.setenv("SAMPLE_HEALTH_PORT", "99999")
    with pytest.raises(ValidationError) as error:
        load(SampleSettings)
    assert {one["loc"][0] for one in error.value.errors()} == {"database_dsn", "pool_size", "health_port"}


def test_secrets_are_shown_as_stars() -> None:
    settings = load(
        SampleSettings,
        nats_password="hidden",
        secret_key="hidden too",
        nats_url="nats://user:visible@host:4222,nats://b:1",
    )
    shown = json.dumps(redacted(settings))
    for secret in ("hidden", "pw@host", "visible"):
        assert secret not in shown
    assert "nats://***@host:4222,nats://b:1" in shown
    assert "hidden" not in repr(settings)


def build() -> Service:
    return Service(load(SampleSettings), Handlers("config"))


@pytest.mark.parametrize(
    ("flag", "expected"), [("--help", "--print-config"), ("-h", "SIGTERM"), ("--print-config", '"pool_size": 6')]
)
def test_a_service_explains_itself_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: str, expected: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["service", flag])
    with pytest.raises(SystemExit) as ended:
        main(build)
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert expected in out
    assert "pw@host" not in out

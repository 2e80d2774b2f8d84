"""Where files of the embedded system go: below its folder for recordings, unless a person says otherwise."""

from __future__ import annotations

import pytest

from deploy.embedded.options import Options
from deploy.embedded.system import EmbeddedSystem


@pytest.fixture
def system(tmp_path, monkeypatch):
    for service in ("DOWNLOADER", "DANMU", "PIPELINE"):
        monkeypatch.delenv(f"{service}_STORAGE_URI", raising=False)
    # Only its settings are looked at: no engine is prepared or started.
    made = EmbeddedSystem.__new__(EmbeddedSystem)
    made.options, made.port = Options(data=tmp_path / "data", recordings=tmp_path / "rec"), 0
    return made


@pytest.mark.parametrize("service", ["downloader", "danmu", "pipeline"])
def test_files_go_below_the_recordings_of_the_system(system, service):
    assert system._named(service)["storage_uri"] == system.options.recordings.as_uri()


@pytest.mark.parametrize("service", ["downloader", "danmu", "pipeline"])
def test_an_address_in_the_environment_is_left_to_the_service(system, service, monkeypatch):
    monkeypatch.setenv(f"{service.upper()}_STORAGE_URI", "s3://archive/live")

    assert "storage_uri" not in system._named(service)


def test_the_port_of_the_gateway_is_the_systems_own(system, monkeypatch):
    monkeypatch.setenv("GATEWAY_PORT", "1")

    assert system._named("gateway")["port"] == 0

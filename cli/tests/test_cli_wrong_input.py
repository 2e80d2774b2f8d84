"""Wrong input ends in one line that says what to do, never in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aircheck.api import Api, ApiError, NotLoggedIn
from aircheck.main import app
from httpx import MockTransport, Request, Response
from typer.testing import CliRunner


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["events", "list", "--service", "radio"], "there is no service 'radio'; there are config,"),
        (["replay", "republish", "radio"], "there is no service 'radio'; there are config,"),
        (["replay", "republish", "downloader", "--from", "10", "--to", "2"], "--to 2 lies before --from 10"),
        (["recordings", "slots", "3", "--reset"], "--reset goes without numbers"),
        (["api", "GET", "streamers"], "begins with a slash"),
        (["api", "PUT", "/api/config", "{engine}"], "not JSON at character 1"),
        (["api", "PUT", "/api/config", "@nowhere.json"], "nowhere.json cannot be read"),
        (["streamers", "add", "https://example.org/1", "--layer", "{"], "not JSON at character 1"),
        (["up", "--port", "99999"], "--port"),
    ],
)
def test_what_cannot_be_is_refused_with_the_next_step(arguments: list[str], said: str) -> None:
    code, output = run(*arguments)

    assert code == 2 and said in output


@pytest.mark.parametrize("name", ["AIRCHECK_PORT", "AIRCHECK_ALLOW_PRIVATE_SOURCES"])
def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("AIRCHECK_URL", raising=False)
    monkeypatch.setenv(name, "maybe")

    with pytest.raises(ApiError, match=f"{name}='maybe'"):
        Api()


def test_a_token_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(NotLoggedIn, match="AIRCHECK_TOKEN"):
        Api("http://gateway", token="wr\u00f6ng")


def test_something_else_that_answers_is_no_gateway() -> None:
    page = MockTransport(lambda _: Response(200, text="<html>"))

    with pytest.raises(ApiError, match="no Aircheck gateway; set AIRCHECK_URL"):
        Api("http://gateway", token="t", transport=page).get("/api/streamers")


def test_a_port_file_torn_by_a_crash_means_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AIRCHECK_URL", "AIRCHECK_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AIRCHECK_DATA", str(tmp_path))
    (tmp_path / "gateway-port.json").write_text("{")

    assert Api().url == "http://127.0.0.1:8720"


def test_settings_change_what_is_given_and_null_takes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    streamer = {
        "id": "s1",
        "url": "https://example.org/1",
        "name": "news",
        "layer": {"engine": "ffmpeg", "quality": "best"},
    }
    shown = {**streamer, "effective": {"quality": "worst"}, "provenance": {"quality": "streamer"}}
    sent = []

    def gateway(request: Request) -> Response:
        if request.method == "PATCH":
            sent.append(json.loads(request.content))
            return Response(200, json=shown)
        return Response(200, json=shown if request.url.path.endswith("s1") else {"items": [streamer], "next": None})

    monkeypatch.setattr("aircheck.streamers.Api", lambda: Api("http://g", token="t", transport=MockTransport(gateway)))

    code, output = run("streamers", "settings", "news", '{"engine": null, "quality": "worst"}')

    assert code == 0 and "worst" in output
    assert sent == [{"layer": {"quality": "worst"}}]

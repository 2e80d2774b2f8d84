"""Which engines a session takes: what was asked for, and by itself only containers that can be had."""

from __future__ import annotations

import json
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest

from tests.engines import choice


class _DockerApi(BaseHTTPRequestHandler):
    """As much of the Docker Engine API as the choice asks for; `images` are the names the engine has."""

    images: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        path = self.path.removeprefix("/v1.41")
        if path == "/_ping":
            self._answer(200, "OK")
        elif path == "/version":
            self._answer(200, {"ApiVersion": "1.41", "MinAPIVersion": "1.12"})
        elif path.removeprefix("/images/").removesuffix("/json") in self.images:
            self._answer(200, {"Id": "sha256:0"})
        else:
            self._answer(404, {"message": "No such image"})

    def do_POST(self) -> None:
        self._answer(500, {"message": "dial tcp: lookup registry.invalid: no such host"})

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the base class looks for an address, which clients of a unix socket do not have."""


@pytest.fixture
def docker_without_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """An engine that reaches no registry; yields the set of the images it has."""
    # Not tmp_path: the path of a unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory() as folder:
        address = Path(folder) / "docker.sock"
        monkeypatch.setenv("DOCKER_HOST", f"unix://{address}")
        monkeypatch.setattr(_DockerApi, "images", set())
        with socketserver.ThreadingUnixStreamServer(str(address), _DockerApi) as server:
            serving = threading.Thread(target=server.serve_forever)
            serving.start()
            yield _DockerApi.images
            server.shutdown()
            serving.join()


def chosen(monkeypatch: pytest.MonkeyPatch, wanted: str) -> bool:
    """Choose anew; `use_containers` keeps the answer of the session."""
    monkeypatch.setenv("AIRCHECK_TEST_ENGINES", wanted)
    return choice.use_containers.__wrapped__()


def test_an_unknown_choice_of_engines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="imaginary"):
        chosen(monkeypatch, "imaginary")


def test_containers_that_were_asked_for_and_are_not_there_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    with pytest.raises(RuntimeError, match="no Docker engine answers"):
        chosen(monkeypatch, "containers")


def test_without_a_docker_engine_the_wheels_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    assert chosen(monkeypatch, "auto") is False


def test_an_engine_that_has_the_images_is_taken(
    docker_without_registry: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_without_registry |= {choice.nats_image(), choice.postgres_image()}
    assert chosen(monkeypatch, "auto") is True
    assert chosen(monkeypatch, "containers") is True
    assert chosen(monkeypatch, "embedded") is False


@pytest.mark.parametrize("missing", ["nats", "postgres"])
def test_an_engine_that_cannot_get_an_image_is_left_alone(
    missing: str, docker_without_registry: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {"nats": choice.nats_image(), "postgres": choice.postgres_image()}
    wanted = images.pop(missing)
    docker_without_registry |= set(images.values())
    assert chosen(monkeypatch, "auto") is False
    with pytest.raises(RuntimeError, match=rf"cannot get {wanted}: .*no such host"):
        chosen(monkeypatch, "containers")


def test_the_images_may_be_named(docker_without_registry: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRCHECK_NATS_IMAGE", "mirror.invalid/nats:1")
    monkeypatch.setenv("AIRCHECK_POSTGRES_IMAGE", "mirror.invalid/postgres:1")
    docker_without_registry |= {"mirror.invalid/nats:1", "mirror.invalid/postgres:1"}
    assert chosen(monkeypatch, "containers") is True

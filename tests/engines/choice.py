"""Which engines the tests run on: containers where a Docker engine has or gets the images, the wheels otherwise.

`AIRCHECK_TEST_ENGINES` is `auto` (the default), `embedded` or `containers`; the images are `AIRCHECK_NATS_IMAGE` and
`AIRCHECK_POSTGRES_IMAGE`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from typing import TYPE_CHECKING, Any

from tests.engines.embedded import EmbeddedNats, EmbeddedPostgres
from tests.engines.handles import NatsEngine, PostgresEngine

if TYPE_CHECKING:
    from docker import DockerClient

_VARIABLE = "AIRCHECK_TEST_ENGINES"
_CHOICES = ("auto", "embedded", "containers")
_DOCKER_SOCKET = "unix:///var/run/docker.sock"
_PING_TIMEOUT_SECONDS = 5
# A pull is silent while a layer is unpacked.
_PULL_TIMEOUT_SECONDS = 120


@functools.cache
def use_containers() -> bool:
    """Tell whether this session runs its engines in containers; asks the Docker engine once."""
    wanted = os.environ.get(_VARIABLE, "auto")
    if wanted not in _CHOICES:
        raise ValueError(f"{_VARIABLE} is {wanted!r}, not one of {', '.join(_CHOICES)}")
    if wanted == "embedded":
        return False
    lack = "no Docker engine answers" if not docker_answers() else missing_image()
    if lack and wanted == "containers":
        raise RuntimeError(f"{_VARIABLE}=containers, but {lack}")
    return not lack


def nats_image() -> str:
    """Return the name of the image that test containers of NATS are made of."""
    return os.environ.get("AIRCHECK_NATS_IMAGE", "nats:2.12-alpine")


def postgres_image() -> str:
    """Return the name of the image that test containers of PostgreSQL are made of."""
    return os.environ.get("AIRCHECK_POSTGRES_IMAGE", "postgres:17-alpine")


def docker_answers() -> bool:
    """Tell whether the Docker engine at `DOCKER_HOST`, or at the usual socket, answers a ping."""
    address = os.environ.get("DOCKER_HOST", _DOCKER_SOCKET)
    if not address.startswith("unix://"):
        return _client_reaches_docker()
    # Not with the Docker client: it leaves its socket open when nobody listens, and warnings are errors here.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PING_TIMEOUT_SECONDS)
        try:
            connection.connect(address.removeprefix("unix://"))
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in connection.recv(64)
        except OSError:
            return False


def missing_image() -> str | None:
    """Say which image the Docker engine neither has nor gets from a registry, and why; None when none is missing."""
    import docker
    import requests
    from docker.errors import DockerException

    for image in (nats_image(), postgres_image()):
        try:
            with contextlib.closing(docker.from_env(timeout=_PULL_TIMEOUT_SECONDS)) as client:
                _have_or_pull(client, image)
        except (DockerException, requests.RequestException) as error:
            return f"the engine cannot get {image}: {error}"
    return None


def _have_or_pull(client: DockerClient, image: str) -> None:
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        client.images.pull(image)


def _client_reaches_docker() -> bool:
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=_PING_TIMEOUT_SECONDS)
    except DockerException:
        return False
    client.close()
    return True


def new_nats(**options: Any) -> NatsEngine:
    """Return a fresh nats-server, not started; options: `users`, `sync_always`."""
    if not use_containers():
        return EmbeddedNats(**options)
    from tests.engines.containers import ContainerNats

    return ContainerNats(**options)


def new_postgres() -> PostgresEngine:
    """Return a fresh cluster, not started."""
    if not use_containers():
        return EmbeddedPostgres()
    from tests.engines.containers import ContainerPostgres

    return ContainerPostgres()

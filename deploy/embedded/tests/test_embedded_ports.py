"""Free ports: really free, and none that the kernel hands out to clients."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from deploy.embedded import ports
from deploy.embedded.ports import NoFreePortError, free_port, port_is_free


def test_a_listening_port_is_not_free_until_it_is_closed() -> None:
    # one that the kernel gives to no client as soon as it is closed
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert not port_is_free(port)
    assert port_is_free(port)


def test_free_ports_lie_below_the_ephemeral_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = tmp_path / "ip_local_port_range"
    limits.write_text("20000\t60999\n")
    monkeypatch.setattr(ports, "_EPHEMERAL_RANGE", limits)
    picked = [free_port() for _ in range(50)]
    assert all(10_240 <= port < 20_000 for port in picked)
    assert len(set(picked)) > 1


@pytest.mark.parametrize("text", ["", "words here", "1024 65535"])
def test_a_range_that_says_nothing_useful_falls_back_to_the_kernels_default(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = tmp_path / "ip_local_port_range"
    limits.write_text(text)
    monkeypatch.setattr(ports, "_EPHEMERAL_RANGE", limits)
    assert 10_240 <= free_port() < 32_768


def test_it_says_so_when_everything_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "port_is_free", lambda _: False)
    with pytest.raises(NoFreePortError):
        free_port()

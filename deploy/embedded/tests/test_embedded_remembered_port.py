"""A half-written file must not keep the system from starting."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.embedded.options import Options
from deploy.embedded.ports import free_port
from deploy.embedded.system import choose_port, remembered_port


def test_the_port_of_the_last_start_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "port").write_text("8721")
    assert remembered_port(tmp_path / "port") == [8721]


@pytest.mark.parametrize("text", ["", "{", "null", "0", "65536", '"8721"', "\x00\x00"])
def test_what_is_no_port_is_forgotten(tmp_path: Path, text: str) -> None:
    (tmp_path / "port").write_text(text)
    assert remembered_port(tmp_path / "port") == []


def test_before_the_first_start_there_is_none(tmp_path: Path) -> None:
    assert remembered_port(tmp_path / "port") == []


@pytest.mark.parametrize("asked_for", [True, False])
def test_wherever_it_listens_the_command_line_finds_it(tmp_path: Path, asked_for: bool) -> None:
    wanted = free_port() if asked_for else 0
    port = choose_port(Options(tmp_path, tmp_path, wanted))
    assert remembered_port(tmp_path / "gateway-port.json") == [port]
    assert not asked_for or port == wanted

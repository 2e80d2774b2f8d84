"""What the supervisor does before it forks: everything is imported and every setting is read once, for all services."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from contracts.system import SERVICES

from deploy.embedded.children import BadSettings, Children
from tests.deadline import DEADLINE_S

BUILD_ALL = """
import importlib, json, sys
from deploy.embedded import children
children.preload()
loaded = set(sys.modules)
late = {}
for service, settings in json.loads(sys.argv[1]).items():
    chosen = children.read_settings(service, settings)
    importlib.import_module(f"services.{service}.app").build(chosen)
    late[service] = sorted(set(sys.modules) - loaded)
print(json.dumps(late))
"""

FORKS = """
import os, signal, sys, time
from pathlib import Path
from deploy.embedded.children import Child, Children

class Here(Children):
    def _redirect(self, service):
        os._exit(3)

    def add(self):
        child = self.children["config"] = Child("config")
        self._fork(child)
        return child

"""
STOPPED_AT_ONCE = f"""{FORKS}
class AtOnce(Here):
    def _become(self, service, parent, ready):
        os.kill(os.getpid(), signal.SIGTERM)
        super()._become(service, parent, ready)

signal.signal(signal.SIGTERM, lambda *_: None)
child = AtOnce(lambda _: {{}}, Path(sys.argv[1])).add()
print(os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]))
"""
STARTED_AGAIN_AT_ONCE = f"""{FORKS}
children = Here(lambda _: {{}}, Path(sys.argv[1]))
child = children.add()
os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
children._reap()
children._fork(child)
while child.failures < 2:
    children.watch(0.05)
print(child.failures)
"""


def said(program: str, *arguments: str) -> bytes:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, stdout=subprocess.PIPE, timeout=2 * DEADLINE_S
    ).stdout


def test_a_service_that_is_stopped_while_it_is_forked_ends(tmp_path: Path) -> None:
    assert int(said(STOPPED_AT_ONCE, str(tmp_path))) == -signal.SIGTERM


def test_a_service_that_ended_unnoticed_can_be_started_again(tmp_path: Path) -> None:
    # given: its end was not read from its pipe when it is forked again; when that one ends, then it is noticed
    assert int(said(STARTED_AGAIN_AT_ONCE, str(tmp_path))) == 2


def settings(folder: Path) -> dict[str, Any]:
    return {
        "database_dsn": "postgresql://nobody@127.0.0.1:1/none",
        "secret_key": "s" * 43 + "=",
        "data_dir": str(folder),
    }


def test_no_service_imports_anything_after_the_fork(tmp_path: Path) -> None:
    # when: built from what the supervisor has imported, in an interpreter that has nothing else
    given = json.dumps({service: settings(tmp_path) for service in SERVICES})
    out = said(BUILD_ALL, given)
    # then: nine processes share what is imported instead of having it each
    assert json.loads(out.splitlines()[-1]) == {service: [] for service in SERVICES}


def test_a_setting_that_is_not_allowed_is_named_before_any_fork_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise AssertionError("forked")

    # given
    monkeypatch.setattr(os, "fork", fork)
    given = {service: settings(tmp_path) for service in SERVICES}
    given["pipeline"] |= {"pool_size": 1, "max_deliveries": "s3cret"}
    # when
    with pytest.raises(BadSettings) as raised:
        Children(lambda service: given[service], tmp_path).start()
    # then
    message = str(raised.value)
    assert "pipeline: pool_size: " in message
    assert "max_deliveries: " in message
    assert "s3cret" not in message

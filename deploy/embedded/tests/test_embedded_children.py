"""What the supervisor does before it forks: everything is imported and every setting is read once, for all services."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from contracts.system import SERVICES

from deploy.embedded.children import BadSettings, Children

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


def settings(folder: Path) -> dict[str, Any]:
    return {
        "database_dsn": "postgresql://nobody@127.0.0.1:1/none",
        "secret_key": "s" * 43 + "=",
        "data_dir": str(folder),
    }


def test_no_service_imports_anything_after_the_fork(tmp_path: Path) -> None:
    # when: built from what the supervisor has imported, in an interpreter that has nothing else
    given = json.dumps({service: settings(tmp_path) for service in SERVICES})
    out = subprocess.run([sys.executable, "-c", BUILD_ALL, given], check=True, stdout=subprocess.PIPE, timeout=120)
    # then: nine processes share what is imported instead of having it each
    assert json.loads(out.stdout.splitlines()[-1]) == {service: [] for service in SERVICES}


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

"""Every setting of a service stands in its README, and its README names no setting that does not exist."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest
from chassis.settings import ServiceSettings
from contracts.system import SERVICES

ROOT = Path(__file__).resolve().parents[2]
_COMMON = set(ServiceSettings.model_fields)
"""What every service has; libs/chassis tells of it once."""
_NAME = re.compile(r"`([A-Z][A-Z0-9_]+)(?:__<[^`]*)?`")


def settings_of(service: str) -> type[ServiceSettings]:
    """The settings class of a service: the one its ``settings.py`` defines."""
    module = importlib.import_module(f"services.{service}.settings")
    found = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]
    assert len(found) == 1, f"services/{service}/settings.py defines {found}"
    assert issubclass(found[0], ServiceSettings)
    return found[0]


def documented(service: str) -> set[str]:
    """Names in the first column of the table of settings in a README, in lower case."""
    text = (ROOT / "services" / service / "README.md").read_text(encoding="utf-8")
    prefix = f"{service.upper()}_"
    _, _, rest = text.partition(f"`{prefix}`")
    rows = [line for line in rest.split("\n| name |", 1)[-1].splitlines() if line.startswith("| `")]
    names = {name for row in rows if (first := row.split("|")[1]) for name in _NAME.findall(first)}
    return {name.removeprefix(prefix).lower() for name in names}


@pytest.mark.parametrize("service", SERVICES)
def test_a_readme_names_every_setting_of_its_service(service: str) -> None:
    cls = settings_of(service)
    own = {name for name in cls.__annotations__ if name not in _COMMON}
    assert own - documented(service) == set(), f"services/{service}/README.md does not tell of these settings"


@pytest.mark.parametrize("service", SERVICES)
def test_a_readme_names_no_setting_that_does_not_exist(service: str) -> None:
    unknown = documented(service) - set(settings_of(service).model_fields)
    assert unknown == set(), f"services/{service}/settings.py has no such settings"

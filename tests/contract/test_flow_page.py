"""docs/flow.md names functions that really exist, and every service appears in it."""

import ast
import re
from pathlib import Path

import pytest
from contracts.system import SERVICES

ROOT = Path(__file__).parents[2]
PAGES = ["docs/flow.md", "docs/replay.md", "docs/runbook.md", "README.md"]
NAMED = re.compile(r"`((?:libs|services|deploy|cli|tests)/[\w/]+\.py)(?::([\w.]+))?`")


def names_in(path: Path) -> set[str]:
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_function_a_page_names_exists(page):
    missing = []
    for file, name in NAMED.findall((ROOT / page).read_text()):
        path = ROOT / file
        if not path.is_file() or (name and name not in names_in(path)):
            missing.append(f"{file}:{name}")
    assert missing == []


def test_the_flow_page_passes_through_every_service():
    text = (ROOT / "docs/flow.md").read_text()
    assert [service for service in SERVICES if f"services/{service}/" not in text] == []


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_links_between_pages_lead_somewhere(page):
    base = (ROOT / page).parent
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text())
    assert [target for target in targets if not (base / target).exists()] == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_rooms(service):
    folder = ROOT / "services" / service
    wanted = ["README.md", "__main__.py", "app.py", "settings.py", "handlers.py", "migrations", "tests"]
    assert [room for room in wanted if not (folder / room).exists()] == []
    assert (folder / "domain.py").exists() or (folder / "domain" / "__init__.py").exists()

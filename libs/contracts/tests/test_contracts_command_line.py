"""``python -m contracts``: what it writes, what it finds, and what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from contracts.__main__ import ASYNCAPI, REFERENCE, SNAPSHOTS, main
from contracts.registry import Registry

TYPE = "monitor.session.opened.v1"
SNAPSHOT = SNAPSHOTS / f"{TYPE}.json"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "9.8.7"\n', encoding="utf-8")
    return tmp_path


@pytest.fixture
def checkout(empty: Path) -> Path:
    """A checkout in which everything is up to date."""
    assert run(empty, "generate") == 0
    return empty


def run(root: Path, *arguments: str) -> int:
    return main(["--root", str(root), *arguments])


def plant_a_field_that_is_gone(checkout: Path) -> str:
    """The snapshot of a type as if its class had once had one more field; returns the text."""
    schema = json.loads((checkout / SNAPSHOT).read_text(encoding="utf-8"))
    schema["properties"]["viewers"] = {"type": "integer"}
    text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    (checkout / SNAPSHOT).write_text(text, encoding="utf-8")
    return text


def test_generate_writes_everything_and_check_is_content_and_silent(
    checkout: Path, vocabulary: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(list((checkout / SNAPSHOTS).iterdir())) == len(vocabulary.all())
    assert json.loads((checkout / ASYNCAPI).read_text(encoding="utf-8"))["info"]["version"] == "9.8.7"
    assert (checkout / REFERENCE).read_text(encoding="utf-8").startswith("# Events")
    assert run(checkout, "check") == 0
    assert capsys.readouterr().out == ""


def test_check_lists_what_was_never_written(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(empty, "check") == 1
    said = capsys.readouterr().out
    for path in (SNAPSHOT, ASYNCAPI, REFERENCE):
        assert f"stale {path}\n" in said
    assert "run make contracts" in said
    assert sorted(empty.iterdir()) == [empty / "pyproject.toml"]


@pytest.mark.parametrize("path", [SNAPSHOT, ASYNCAPI, REFERENCE])
def test_a_file_changed_by_hand_is_stale_until_generated(
    checkout: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (checkout / path).open("a", encoding="utf-8") as file:
        file.write("\n")
    assert run(checkout, "check") == 1
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.startswith("stale ")] == [f"stale {path}"]
    assert "incompatible" not in said
    assert run(checkout, "generate") == 0
    assert run(checkout, "check") == 0


def test_a_new_version_of_the_product_makes_the_document_stale(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / "pyproject.toml").write_text('[project]\nversion = "10.0.0"\n', encoding="utf-8")
    assert run(checkout, "check") == 1
    assert f"stale {ASYNCAPI}" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "generate"])
def test_an_incompatible_change_fails_says_why_and_is_left_as_it_is(
    checkout: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = plant_a_field_that_is_gone(checkout)
    assert run(checkout, command) == 1
    said = capsys.readouterr().out
    assert f"incompatible {TYPE}\n  viewers: removed property" in said
    assert "next major version" in said
    assert "make contracts" not in said
    assert (checkout / SNAPSHOT).read_text(encoding="utf-8") == planted


def test_an_incompatible_change_is_written_when_it_is_accepted(checkout: Path) -> None:
    plant_a_field_that_is_gone(checkout)
    assert run(checkout, "generate", "--accept-breaking", TYPE) == 0
    assert run(checkout, "check") == 0


def test_a_type_without_class_is_incompatible_until_it_is_accepted(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orphan = checkout / SNAPSHOTS / "monitor.session.vanished.v1.json"
    orphan.write_text("{}\n", encoding="utf-8")
    assert run(checkout, "check") == 1
    assert "incompatible monitor.session.vanished.v1\n  the message: removed type" in capsys.readouterr().out
    assert run(checkout, "generate", "--accept-breaking", "monitor.session.vanished.*") == 0
    assert not orphan.exists()


@pytest.mark.parametrize("arguments", [[], ["publish"], ["check", "--accept-breaking", TYPE]])
def test_wrong_usage_is_told_apart_from_findings(checkout: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(checkout, *arguments)
    assert ended.value.code == 2


def test_a_folder_that_is_no_checkout_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(tmp_path, "generate")
    assert ended.value.code == 2
    assert "is not a checkout of Aircheck" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_help_teaches_what_to_do_when_the_check_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for word in ("generate", "check", "stale", "incompatible", "Registry.upcast", str(SNAPSHOTS), "exit status"):
        assert word in said

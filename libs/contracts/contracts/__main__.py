"""``python -m contracts``: write, or check, everything that is generated from the vocabulary."""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from contracts import asyncapi, reference, schemas
from contracts.registry import Registry, load_vocabulary

SNAPSHOTS = Path("libs/contracts/schemas")
ASYNCAPI = Path("docs/asyncapi.json")
REFERENCE = Path("docs/events.md")

_DESCRIPTION = f"""\
Write or check what is generated from the message classes in libs/contracts/contracts:

  {SNAPSHOTS}/TYPE.json   the JSON Schema of every event, command and signal
  {ASYNCAPI}                   the bus for machines (AsyncAPI {asyncapi.ASYNCAPI})
  {REFERENCE}                       the bus for people: who says what, when, and who listens
"""
_EPILOG = """\
what to do when the check fails:
  stale         the classes changed in a way that every reader survives: run `make contracts` and commit what it wrote
  incompatible  history or readers would break: undo the change, or leave the class as it is and declare a new one with the next
                major version and a step from the old one (Registry.upcast)

examples:
  python -m contracts check
  python -m contracts generate
  python -m contracts generate --accept-breaking 'uploader.upload.*.v1'

exit status: 0 everything is up to date, 1 something is stale or incompatible, 2 wrong usage
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    root: Path = options.root.resolve()
    if not (root / "pyproject.toml").is_file():
        parser.error(f"{root} is not a checkout of Aircheck: it has no pyproject.toml")
    registry = load_vocabulary()
    if options.command == "generate":
        return _generate(root, registry, options.accept_breaking)
    return _check(root, registry)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m contracts",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(__file__).resolve().parents[3],
        help="the checkout to work on (default: the one this package lies in)",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    generate = commands.add_parser(
        "generate", help="write everything; incompatible schemas are refused and left as they are"
    )
    generate.add_argument(
        "--accept-breaking",
        action="append",
        default=[],
        metavar="TYPE",
        help="replace, or remove, the snapshot of this type although readers and history break; a shell pattern, may be repeated. "
        "Only right for a type that no release has published.",
    )
    commands.add_parser("check", help="change nothing; list what is stale or incompatible and fail if there is any")
    return parser


def _generate(root: Path, registry: Registry, accept: Sequence[str]) -> int:
    report = schemas.write(root / SNAPSHOTS, registry, accept)
    for path, text in _documents(root, registry).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return _tell(report)


def _check(root: Path, registry: Registry) -> int:
    report = schemas.check(root / SNAPSHOTS, registry)
    report.stale = [str(SNAPSHOTS / name) for name in report.stale]
    report.stale += [
        str(path.relative_to(root)) for path, text in _documents(root, registry).items() if _read(path) != text
    ]
    return _tell(report)


def _documents(root: Path, registry: Registry) -> dict[Path, str]:
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return {
        root / ASYNCAPI: schemas.rendered(asyncapi.document(registry, version)),
        root / REFERENCE: reference.page(registry),
    }


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _tell(report: schemas.Report) -> int:
    for name, reasons in report.incompatible.items():
        _say(f"incompatible {name}", *(f"  {reason}" for reason in reasons))
    for path in report.stale:
        _say(f"stale {path}")
    if report.incompatible:
        _say(
            "", "An incompatible change needs a new class with the next major version; see python -m contracts --help."
        )
    if report.stale:
        _say("", "The generated files are behind the classes: run make contracts and commit what it wrote.")
    return 1 if report.incompatible or report.stale else 0


def _say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())

"""``aircheck media``: look into FLV files, repair, split and index them, without any server."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from media.flv.errors import FlvError
from media.flv.files import Probe, Repaired, probe, repair
from media.flv.recorder import Limits, SegmentCompleted, SegmentEvent
from media.flv.recover import RecoveredFile, copy_with_index, recover
from media.repair.model import Repair
from media.repair.records import to_record
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from aircheck.output import console, table

FINE = 0
DIFFERS = 1
FAILED = 2
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_PARTIAL = ".part"

app = typer.Typer(
    help="Look into FLV files, repair, split and index them. Needs no server.",
    no_args_is_help=True,
    epilog="Exit codes of all four, for scripts: [b]0[/] the file is fine, nothing had to change. [b]1[/] it was (or, for probe, is) in "
    "need of repair or of an index; what was asked for is done. [b]2[/] it cannot be done: not an FLV file, the disk, the arguments.",
)
errors = Console(stderr=True, soft_wrap=True)

Source = Annotated[Path, typer.Argument(help="An FLV file, of any size: it is read as a stream.", dir_okay=False)]
Folder = Annotated[Path, typer.Option("--output", "-o", help="Folder for the files; made if missing.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files of an earlier run.")]


@app.command("probe")
def probe_command(
    file: Source,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as one JSON object.")] = False,
) -> None:
    """Say what a file holds, what is wrong with it, and what `repair` would make of it. Changes nothing.

    Example: aircheck media probe show.flv --json | jq .repairs

    Exit code 0: it needs no repair. 1: it does. 2: it is no FLV file, holds no media, or cannot be read.
    """
    with _failing(file), file.open("rb", buffering=0) as source, _progress(file, "reading") as advance:
        found = probe(source, on_progress=advance)
    if as_json:
        typer.echo(json.dumps(_probe_json(file, found), ensure_ascii=False))
    else:
        _show_probe(found)
    if not any(track.tags for track in found.tracks.values()):
        errors.print("[red]no media[/] is in it")
        raise typer.Exit(FAILED)
    raise typer.Exit(DIFFERS if found.repairs else FINE)


@app.command("repair")
def repair_command(file: Source, output: Folder, force: Force = False) -> None:
    """Repair a recording: NAME-000.flv, NAME-001.flv, … and repair.json in the output folder.

    Mends time stamps (jumps, steps back, wrap, start), puts audio and video in step, drops what a server sent twice, moves headers to the
    front, skips junk, removes filler, and writes duration and a keyframe index so that every player can seek. Where the codec's
    parameters change, a new file begins. repair.json tells every repair with its place, so that chat can be moved along. A file that
    needs nothing comes out with the same media, bit by bit.

    Example: aircheck media repair show.flv -o repaired

    Exit code 0: there was nothing to repair. 1: it was repaired. 2: it cannot be done.
    """
    _rewrite(file, output, Limits(), force)


@app.command("split")
def split_command(
    file: Source,
    output: Folder,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Longest file, in seconds of media.")] = None,
    size: Annotated[str | None, typer.Option(help="Largest file: 500MB, 2GiB, or bytes.")] = None,
    force: Force = False,
) -> None:
    """Cut a file into NAME-000.flv, NAME-001.flv, … at keyframes, before a limit is passed.

    The files are repaired on the way, as by `repair`, and each can be sought. A stream without keyframes is cut at twice the limit.

    Example: aircheck media split show.flv -o parts --seconds 3600 --size 4GB

    Exit code 0: it was cut. 1: it was cut, and repaired. 2: it cannot be done.
    """
    if seconds is None and size is None:
        raise typer.BadParameter("say where to cut: --seconds, --size or both")
    limits = Limits(None if seconds is None else round(seconds * 1000), None if size is None else _bytes(size))
    _rewrite(file, output, limits, force)


@app.command("index")
def index_command(file: Source) -> None:
    """Make a file one that can be sought: duration and keyframe index in its onMetaData; media is not touched.

    A file of Aircheck has room for them and is patched in place; a torn last tag of a killed recorder is cut off first. Any other FLV
    file is copied beside itself with the index and then replaced in one step. Killed at any moment it leaves a file whose media is
    whole, and running it again completes the work.

    Exit code 0: the index was right already. 1: it was written. 2: it cannot be done.
    """
    with _failing(file):
        done = _index(file)
    console.print(
        f"{file.name}  {_clock(done.duration_ms)}  {done.keyframes} keyframes  "
        + ("index written" if done.changed else "index was right")
        + (f"  {done.truncated_bytes} torn bytes cut off" if done.truncated_bytes else ""),
        highlight=False,
        markup=False,
    )
    raise typer.Exit(DIFFERS if done.changed else FINE)


def _index(path: Path) -> RecoveredFile:
    with path.open("r+b") as file:
        _claim(file)
        done = recover(file)
        os.fsync(file.fileno())
    if done.indexed:
        return done
    partial = path.with_name(path.name + _PARTIAL)
    try:
        with path.open("rb") as file, partial.open("wb") as target:
            done = copy_with_index(file, target)
            target.flush()
            os.fsync(target.fileno())
        partial.chmod(path.stat().st_mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return done


def _claim(file: BinaryIO) -> None:
    """Recorders lock what they write: the last tag of a file that grows is not a torn one."""
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(f"{file.name} is being recorded") from None


def _rewrite(path: Path, folder: Path, limits: Limits, force: bool) -> None:
    with _failing(path):
        folder.mkdir(parents=True, exist_ok=True)
        names = _Names(path, folder, force)
        with names, path.open("rb", buffering=0) as source, _progress(path, "repairing") as advance:
            done = repair(source, names.open, limits=limits, on_event=names.settle, on_progress=advance)
        _write_json(names.report, _repair_json(path, done, names))
    for event in done.files:
        _show_file(names.final(event.index).name, event)
    for line in _summary(done.repairs):
        console.print(f"  {line}", highlight=False, markup=False)
    if not done.files:
        errors.print("[red]no file:[/] there is too little media in it")
        raise typer.Exit(FAILED)
    raise typer.Exit(DIFFERS if done.repairs else FINE)


class _Names:
    """The files of one run: written as `.part`, renamed when complete, so that no half file has a good name."""

    def __init__(self, source: Path, folder: Path, force: bool) -> None:
        self._stem = source.stem
        self._folder = folder
        self._open: Path | None = None
        self.report = folder / "repair.json"
        if force:
            for old in folder.glob(f"{_escaped(self._stem)}-[0-9][0-9][0-9]*.flv"):
                if not old.samefile(source):
                    old.unlink()
        elif self.report.exists():
            raise FileExistsError(f"{self.report} exists (--force replaces what an earlier run wrote)")

    def final(self, index: int) -> Path:
        return self._folder / f"{self._stem}-{index:03}.flv"

    def open(self, index: int) -> BinaryIO:
        path = self.final(index)
        if path.exists():
            raise FileExistsError(f"{path} exists (--force replaces what an earlier run wrote)")
        self._open = self._partial(index)
        return self._open.open("w+b", buffering=0)

    def settle(self, event: SegmentEvent) -> None:
        """Give a completed file its name."""
        if isinstance(event, SegmentCompleted):
            self._partial(event.index).replace(self.final(event.index))
            self._open = None if self._open == self._partial(event.index) else self._open

    def __enter__(self) -> None:
        """Leaving removes the file that was not completed, if the run ended early."""

    def __exit__(self, *_: object) -> None:
        if self._open is not None:
            self._open.unlink(missing_ok=True)

    def _partial(self, index: int) -> Path:
        final = self.final(index)
        return final.with_name(final.name + _PARTIAL)


def _escaped(stem: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", stem)


def _write_json(path: Path, value: object) -> None:
    partial = path.with_name(path.name + _PARTIAL)
    partial.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


# What is said


def _repair_json(path: Path, done: Repaired, names: _Names) -> dict[str, Any]:
    return {
        "source": path.name,
        "bytes": done.read,
        "needed_repair": bool(done.repairs),
        "files": [
            _file_json(event) | {"name": names.final(event.index).name, "repairs": [*map(to_record, event.repairs)]}
            for event in done.files
        ],
        "without_file": [to_record(repair) for repair in done.without_file],
    }


def _file_json(event: SegmentCompleted) -> dict[str, Any]:
    return {
        "index": event.index,
        "start_ms": event.start_ms,
        "source_ms": event.source_ms,
        "duration_ms": event.duration_ms,
        "bytes": event.bytes,
        "keyframes": event.keyframes,
        "ended_by": event.reason.value,
        "detail": event.detail,
    }


def _probe_json(path: Path, found: Probe) -> dict[str, Any]:
    return {
        "file": path.name,
        "bytes": found.bytes,
        "duration_ms": found.duration_ms,
        "header": None
        if found.header_flags is None
        else {"audio": bool(found.header_flags & 4), "video": bool(found.header_flags & 1)},
        "tracks": {
            name: {
                "codec": track.codec,
                "configs": track.configs,
                "tags": track.tags,
                "keyframes": track.keyframes,
                "bytes": track.bytes,
                "first_ms": track.first_ms,
                "last_ms": track.last_ms,
            }
            for name, track in found.tracks.items()
        },
        "metadata": found.metadata,
        "index_entries": found.index_entries,
        "junk_bytes": found.junk_bytes,
        "needs_repair": bool(found.repairs),
        "repairs": [to_record(repair) for repair in found.repairs],
        "files_after_repair": [_file_json(event) for event in found.files],
    }


def _show_probe(found: Probe) -> None:
    shown = table("track", "codec", "parameters", "tags", "keyframes", "bytes")
    for name, track in found.tracks.items():
        configs = "; ".join(track.configs) or "-"
        shown.add_row(name, track.codec, configs, str(track.tags), str(track.keyframes), str(track.bytes))
    console.print(
        f"{found.bytes} bytes, {_clock(found.duration_ms)}, index of {found.index_entries} entries", markup=False
    )
    console.print(shown)
    if not found.repairs:
        console.print("[green]needs no repair[/]")
        return
    console.print(f"[yellow]needs repair[/]; it would make {len(found.files)} file(s):", highlight=False)
    for line in _summary(found.repairs):
        console.print(f"  {line}", highlight=False, markup=False)


def _summary(repairs: tuple[Repair, ...]) -> Iterator[str]:
    counts: Counter[str] = Counter()
    amounts: Counter[str] = Counter()
    for one in repairs:
        counts[one.kind.value] += one.count
        amounts[one.kind.value] += one.amount
    for kind, count in counts.most_common():
        yield f"{kind.replace('_', ' ')} ×{count}" + (f", {amounts[kind]} in sum" if amounts[kind] else "")


def _show_file(name: str, event: SegmentCompleted) -> None:
    line = (
        f"{name}  {_clock(event.duration_ms)}  {event.bytes} bytes  {event.keyframes} keyframes  {event.reason.value}"
    )
    console.print(line, highlight=False, markup=False)


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}.{rest:03}"


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?)?b?", text.strip().lower())
    size = round(float(found[1]) * _UNITS[found[2] or ""]) if found else 0
    if size <= 0:
        raise typer.BadParameter(f"{text!r} is no size: write 500MB, 2GiB or a number of bytes")
    return size


@contextmanager
def _failing(path: Path) -> Iterator[None]:
    """What cannot be done becomes one line and exit code 2."""
    try:
        yield
    except FlvError as error:
        errors.print(f"{path}: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(FAILED) from error
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.strerror else str(error)
        errors.print(reason, style="red", markup=False, highlight=False)
        raise typer.Exit(FAILED) from error


@contextmanager
def _progress(path: Path, verb: str) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(verb, total=path.stat().st_size)
        yield lambda done: bar.update(task, completed=done)

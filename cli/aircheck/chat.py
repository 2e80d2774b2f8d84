"""``aircheck chat``: chat files without any server: other formats, other places in the video, several made one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer
from media.chat.ass import AssOptions
from media.chat.editing import Realigned, merged, shifted
from media.chat.formats import ChatInput, OutputFormat, Style, UnknownFormat, open_chat, write_chat
from media.chat.head import ChatHead
from media.chat.log import ChatLogReader, LogHead
from media.chat.timing import Timed, Timing
from media.chat.xml_reader import InvalidXml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from aircheck.chat_tables import chat_tables
from aircheck.output import console


class InvalidRepairs(ValueError):
    """A file that was to list repairs does not."""


app = typer.Typer(
    name="chat",
    help="""Work on chat files, without any server.

    Reads the logs of recordings ([b].chat.jsonl.gz[/]), Bilibili-style XML of this and other recorders, and the JSON written here.

    [b]aircheck chat convert[/] show.chat.jsonl.gz -o show.ass     subtitles that scroll over the video
    [b]aircheck chat realign[/] show.xml -o moved.xml --shift -2.5  everything 2.5 s earlier
    [b]aircheck chat realign[/] show.xml -o moved.xml --repair repair.json  as the repaired video needs it
    [b]aircheck chat stats[/] show.chat.jsonl.gz                   who, what and when
    [b]aircheck chat merge[/] 000.xml 001.xml -o whole.xml          the files of one session, by the clock
    [b]aircheck chat reparse[/] 00000001.frames.zst -o again.json   with the parser of this version

    Exit codes: 0 done, 1 a file cannot be read or written, 2 wrong usage.""",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
_PROGRESS_BYTES = 4 << 20
"""Smaller files are done before a bar could be read."""
_errors = Console(stderr=True)

Input = Annotated[
    Path, typer.Argument(help="A chat log, XML or JSON file.", exists=True, dir_okay=False, readable=True)
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where to write; a file of that name is replaced.")]
To = Annotated[
    OutputFormat | None,
    typer.Option("--to", help="The format; without it the name of the output decides.", case_sensitive=False),
]


@app.command()
def convert(  # noqa: PLR0913, PLR0917 - one per option
    source: Input,
    output: Output,
    to: To = None,
    resolution: Annotated[str, typer.Option(help="ASS: of the video, WIDTHxHEIGHT.")] = "1920x1080",
    font: Annotated[str, typer.Option(help="ASS: name of the font.")] = "sans-serif",
    font_size: Annotated[int, typer.Option(min=1, help="ASS: pixels of a normal line.")] = 42,
    duration: Annotated[float, typer.Option(help="ASS: seconds a scrolling line needs to cross the screen.")] = 12.0,
    fixed_duration: Annotated[float, typer.Option(help="ASS, SRT: seconds a line that stands still is shown.")] = 5.0,
    opacity: Annotated[float, typer.Option(help="ASS: 1 = opaque, near 0 = invisible.")] = 0.8,
    area: Annotated[float, typer.Option(help="ASS: share of the height that chat may cover, from the top.")] = 1.0,
    gifts: Annotated[bool, typer.Option("--gifts", help="ASS, SRT: show gifts and memberships too.")] = False,
) -> None:
    """Write a chat file in another format.

    The log holds everything; XML keeps chat, gifts, super chats and memberships; JSON and CSV keep every message; ASS and SRT show
    what was said. In ASS a message appears at its own time always: where the screen is full, lines overlap.
    """
    style = _style(resolution, font, font_size, duration, fixed_duration, opacity, area, gifts)
    with _failures():
        _convert(open_chat(source), output, _format(output, to), style)


@app.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(help="Two or more chat files.", exists=True, dir_okay=False)],
    output: Output,
    to: To = None,
    at: Annotated[
        list[float] | None,
        typer.Option(
            help="Where each input begins in the merged video, in seconds, once per input. Without it the times of the recordings decide."
        ),
    ] = None,
) -> None:
    """Make one chat file of several: the segments of a session, or one broadcast on two platforms."""
    if len(sources) < 2:
        raise typer.BadParameter("one file cannot be merged; name at least two")
    if at and len(at) != len(sources):
        raise typer.BadParameter(f"{len(at)} times for {len(sources)} files: --at belongs to each of them")
    with _failures():
        inputs = [open_chat(path) for path in sources]
        chosen = _format(output, to)
        # A file says when it began only once its first line was read.
        read = [list(_with_progress(one, path.name)) for one, path in zip(inputs, sources, strict=True)]
        begins = [round(second * 1000) for second in at] if at else _begins(inputs, sources)
        moved = [Realigned(timed, shifted(begin)) for timed, begin in zip(read, begins, strict=True)]
        first = inputs[begins.index(min(begins))]
        count = write_chat(
            merged(moved), output, chosen, head=lambda: first.head, start_ms=lambda: first.start_ms, style=Style()
        )
        _told(inputs, output, count, sum(one.dropped for one in moved))


@app.command()
def realign(
    source: Input,
    output: Output,
    shift: Annotated[float, typer.Option(help="Seconds by which everything comes later; negative: earlier.")] = 0.0,
    repair: Annotated[
        Path | None,
        typer.Option(
            help="What was repaired in the video, as [b]aircheck media repair[/] writes it: time that it lost is taken out of the chat.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    to: To = None,
) -> None:
    """Move chat in time: for a video that begins at another moment, or that was repaired after the chat had been written.

    What would lie before the start is left out. With both options the repairs come first and the shift after them.
    """
    with _failures():
        chat = open_chat(source)
        timing = read_repairs(repair) if repair else Timing(0)
        repaired = Realigned(_with_progress(chat, source.name), timing.elapsed_to_offset)
        moved = Realigned(repaired, shifted(round(shift * 1000)))
        count = write_chat(
            moved,
            output,
            _format(output, to),
            head=lambda: chat.head,
            start_ms=lambda: chat.start_ms - round(shift * 1000) if chat.start_ms else 0,
            style=Style(),
        )
        _told([chat], output, count, moved.dropped)


@app.command()
def stats(
    sources: Annotated[
        list[Path], typer.Argument(help="One or more chat files, counted together.", exists=True, dir_okay=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Everything as one JSON object, for programs.")] = False,
    top: Annotated[int, typer.Option(min=1, max=50, help="How many talkers, words and gifts are shown.")] = 10,
) -> None:
    """Say what a chat was like: how much was said when, by whom, in which words, what was given, and where it boiled over.

    Counted in bounded memory, as the running service does: a number with ± is known no better than that.
    """
    from media.chat.statistics import ChatStatistics  # brings the Chinese dictionary along

    counted = ChatStatistics()
    with _failures():
        for path in sources:
            chat = open_chat(path)
            counted.fold(timed.message for timed in _with_progress(chat, path.name))
    report = counted.report()
    if as_json:
        typer.echo(json.dumps(report))
        return
    for shown in chat_tables(report, top):
        console.print(shown)


@app.command()
def reparse(
    sources: Annotated[
        list[Path],
        typer.Argument(help="Files of raw frames (.frames.zst) of one session.", exists=True, dir_okay=False),
    ],
    output: Output,
    to: To = None,
    log: Annotated[
        Path | None,
        typer.Option(
            help="A finished log of the segment: says where its video begins and breaks. Without it the first message begins at 0.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Read the frames of a chat again with the parser of this version, as if they came once more.

    Frames are kept for channels whose configuration says [b]keep_raw_chat[/]; they lie beside the logs of a session.
    """
    # The codecs belong to the chat service; no other command needs them.
    from services.danmu.adapters.raw import InvalidRaw
    from services.danmu.adapters.reparse import CannotReparse

    try:
        with _failures():
            about = _about(log) if log else None
            messages = _Placed(sources, about.timing if about else None)
            count = write_chat(
                messages,
                output,
                _format(output, to),
                head=lambda: about.head if about else ChatHead(),
                start_ms=lambda: messages.start_ms,
                style=Style(),
            )
    except (InvalidRaw, CannotReparse) as error:
        _errors.print(f"[red]chat:[/] {error}", highlight=False)
        raise typer.Exit(1) from error
    torn = f", {messages.torn} files end in the middle" if messages.torn else ""
    typer.echo(f"{output}: {count} messages{torn}")


class _Placed:
    """Messages parsed again, placed by a timing, or from the first of them on."""

    def __init__(self, paths: Iterable[Path], timing: Timing | None) -> None:
        self._paths, self._timing = paths, timing
        self.start_ms = timing.start_ms if timing else 0
        self.torn = 0

    def __iter__(self) -> Iterator[Timed]:
        from services.danmu.adapters.raw import RawReader
        from services.danmu.adapters.reparse import reparsed

        timing = self._timing
        for path in self._paths:
            reader = RawReader(path)
            frames = iter(reader)
            first = next(frames, None)
            for message in reparsed(reader.kind, chain([first] if first else [], frames)):
                if timing is None:
                    timing = Timing(message.received_at)
                    self.start_ms = timing.start_ms
                yield timing.of(message)
            self.torn += reader.torn


def _about(path: Path) -> LogHead:
    reader = ChatLogReader(path)
    reader.page(0, 1)
    if reader.about is None:
        raise UnknownFormat(f"{path.name} does not say how it lies on its video")
    return reader.about


def read_repairs(path: Path) -> Timing:
    """The breaks of a repaired file: repair.json with one file, ``{"start_ms", "repairs": […]}``, or the bare list.

    Raises InvalidRepairs, OSError.
    """
    try:
        data = json.loads(path.read_bytes())
        about = data if isinstance(data, dict) else {"repairs": data}
        if "files" in about:
            about = _only(about["files"], path)
        return Timing.of_segment(0, int(about.get("start_ms", 0)), [dict(one) for one in about["repairs"]])
    except InvalidRepairs:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRepairs(f"{path.name} does not list repairs ({type(error).__name__})") from error


def _only(files: list[dict[str, Any]], path: Path) -> dict[str, Any]:
    if len(files) != 1:
        raise InvalidRepairs(f"{path.name} tells of a video that became {len(files)} files; chat follows one file only")
    return files[0]


def _convert(chat: ChatInput, output: Path, to: OutputFormat, style: Style) -> None:
    messages = _with_progress(chat, output.name)
    count = write_chat(messages, output, to, head=lambda: chat.head, start_ms=lambda: chat.start_ms, style=style)
    _told([chat], output, count, 0)


def _begins(inputs: Iterable[ChatInput], paths: Iterable[Path]) -> list[int]:
    for chat, path in zip(inputs, paths, strict=True):
        if not chat.start_ms:
            raise UnknownFormat(f"{path.name} does not say when it began: place the files with --at")
    first = min(chat.start_ms for chat in inputs)
    return [chat.start_ms - first for chat in inputs]


def _format(output: Path, to: OutputFormat | None) -> OutputFormat:
    if to is not None:
        return to
    try:
        return OutputFormat(output.suffix.lower().removeprefix("."))
    except ValueError:
        names = ", ".join(OutputFormat)
        raise typer.BadParameter(f"the format is not clear from {output.name!r}: use --to ({names})") from None


def _style(
    resolution: str, font: str, font_size: int, duration: float, fixed: float, opacity: float, area: float, gifts: bool
) -> Style:
    width, _, height = resolution.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"--resolution {resolution!r} is not WIDTHxHEIGHT in pixels, as 1920x1080 is")
    try:
        drawn = AssOptions(int(width), int(height), font, font_size, duration, fixed, opacity, area, gifts)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return Style(ass=drawn, cue_s=fixed, gifts=gifts)


def _with_progress(chat: ChatInput, name: str) -> Iterator[Timed]:
    """The messages; a bar on standard error while a long file is read."""
    if chat.size < _PROGRESS_BYTES or not _errors.is_terminal:
        yield from chat
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_errors, transient=True) as progress:
        task = progress.add_task(name, total=chat.size)
        for number, timed in enumerate(chat):
            if number % 2048 == 0:
                progress.update(task, completed=chat.done)
            yield timed


def _told(inputs: Iterable[ChatInput], output: Path, count: int, dropped: int) -> None:
    damaged = sum(chat.damaged for chat in inputs)
    remarks = [f"{dropped} before the start left out"] if dropped else []
    remarks += [f"{damaged} places could not be read"] if damaged else []
    typer.echo(f"{output}: {count} messages{''.join(f', {one}' for one in remarks)}")


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (UnknownFormat, InvalidXml, InvalidRepairs, OSError) as error:
        _errors.print(f"[red]chat:[/] {error}", highlight=False)
        raise typer.Exit(1) from error

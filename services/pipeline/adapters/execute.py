"""``execute``: runs one of the programs the operator has allowed, never a shell, and collects the files it leaves."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chassis.programs import run_program
from chassis.redaction import without_secrets
from contracts.processors import BadStep, ExecuteOptions, check_arguments
from contracts.values import Artifact, Json
from media.naming import sanitise

from services.pipeline.adapters.failure import ProcessingInterrupted, ProcessingRefused
from services.pipeline.adapters.files import suffix_of
from services.pipeline.adapters.processor import Result, Task, parse
from services.pipeline.adapters.workspace import Workspace

MAX_OUTPUTS = 200
GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class _Call:
    inputs: tuple[Path, ...]
    output_dir: Path
    task: Task


class Execute:
    """``allowed`` are the absolute paths of programs. Programs run at least once: one with effects elsewhere must bear being repeated."""

    def __init__(self, allowed: Sequence[str], *, niceness: int = 0) -> None:
        self._allowed, self._niceness = frozenset(allowed), niceness

    def check(self, options: Json) -> None:
        """See ``MediaProcessor``."""
        self._parse(options)

    async def run(self, task: Task, workspace: Workspace) -> Result:
        """See ``MediaProcessor``."""
        options = self._parse(task.step.options)
        used = tuple(
            file for file in task.inputs if not options.extensions or suffix_of(file.uri) in options.extensions
        )
        passed = tuple(file for file in task.inputs if file not in used)
        if not used:
            return Result(passed)
        call = _Call(tuple([await workspace.fetch(file) for file in used]), workspace.folder / "out", task)
        await asyncio.to_thread(call.output_dir.mkdir, parents=True, exist_ok=True)
        await self._execute(options, call)
        made = await self._collect(call.output_dir, used[0], workspace)
        return Result((*(made or used), *passed))

    def _parse(self, raw: Json) -> ExecuteOptions:
        options = parse(ExecuteOptions, raw)
        if options.program not in self._allowed:
            raise ProcessingRefused(f"{options.program} is not one of the programs in PIPELINE_ALLOW_EXECUTE")
        try:
            check_arguments(options)
        except BadStep as error:
            raise ProcessingRefused(str(error)) from None
        return options

    async def _execute(self, options: ExecuteOptions, call: _Call) -> None:
        arguments = [filled for argument in options.arguments for filled in _filled(argument, call)]
        try:
            async with asyncio.timeout(options.timeout_s):
                done = await run_program(
                    [options.program, *arguments], folder=call.output_dir, niceness=self._niceness, grace_s=GRACE_S
                )
        except TimeoutError:
            raise ProcessingRefused(f"the program took longer than {options.timeout_s:g} s") from None
        except (FileNotFoundError, PermissionError) as error:
            raise ProcessingRefused(f"the program cannot be started: {error.strerror}") from None
        complaints = without_secrets(done.complaints)  # they go into an event
        if done.code < 0:
            raise ProcessingInterrupted(f"the program was killed by signal {-done.code}: {complaints}")
        if done.code:
            raise ProcessingRefused(f"the program failed with {done.code}: {complaints}")

    async def _collect(self, folder: Path, source: Artifact, workspace: Workspace) -> list[Artifact]:
        found = await asyncio.to_thread(_files_below, folder)
        if len(found) > MAX_OUTPUTS:
            raise ProcessingRefused(f"the program left {len(found)} files, at most {MAX_OUTPUTS} are taken")
        made: list[Artifact] = []
        for path in found:
            name = sanitise(path.name, limit=200)
            slot = f"out-{path.relative_to(folder).as_posix()}"
            known = await workspace.published(slot)
            made.append(known or await workspace.publish(path, source=source, name=name, slot=slot))
        return made


def _filled(argument: str, call: _Call) -> list[str]:
    match argument:
        case "{input}":
            return [str(path) for path in call.inputs]
        case "{output_dir}":
            return [str(call.output_dir)]
        case "{session_id}":
            return [call.task.context.session_id]
        case "{title}":
            # Whoever broadcasts chooses the title: it must not become an option of the program.
            return ["".join(char for char in call.task.context.title if char.isprintable()).lstrip("-")]
    return [argument]


def _files_below(folder: Path) -> list[Path]:
    """Regular files in the order of their names; a link could name any file of this machine and is left out."""
    found: list[Path] = []
    for directory, _, names in os.walk(folder, followlinks=False):
        paths = [Path(directory, name) for name in names]
        found += [path for path in paths if stat.S_ISREG(path.lstat().st_mode)]
    return sorted(found)

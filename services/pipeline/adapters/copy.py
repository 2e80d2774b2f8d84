"""``copy``: copies or moves files into the operator's archive, and verifies what lies there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.storage import Storage
from contracts.processors import BadDestination, CopyOptions
from contracts.values import Artifact, Json

from services.pipeline.adapters.failure import ProcessingInterrupted, ProcessingRefused
from services.pipeline.adapters.files import sha256_at
from services.pipeline.adapters.processor import Result, Task, parse
from services.pipeline.adapters.workspace import Workspace
from services.pipeline.domain.destinations import folder_of, names_of


class Copy:
    """``root`` is the archive; ``None`` when the operator has named none."""

    def __init__(self, root: Storage | None) -> None:
        self._root = root

    def check(self, options: Json) -> None:
        """See ``MediaProcessor``."""
        self._archive()
        parse(CopyOptions, options)

    async def run(self, task: Task, workspace: Workspace) -> Result:
        """See ``MediaProcessor``."""
        options = parse(CopyOptions, task.step.options)
        try:
            folder = folder_of(options.to, task.context)
        except BadDestination as error:
            raise ProcessingRefused(str(error)) from None
        outputs: list[Artifact] = []
        for number, (source, name) in enumerate(zip(task.inputs, names_of(task.inputs), strict=True)):
            slot = f"{number}-copy"
            target = _Target(self._archive(), folder, name, slot, move=options.operation == "move")
            copied = await workspace.published(slot) or await _copy(source, target, workspace)
            outputs.append(copied)
            await workspace.report((number + 1) / len(task.inputs))
        removed = _moved(task.inputs, outputs) if options.operation == "move" else ()
        # Only when all of them are safe: a failure in the middle leaves every original where it was.
        for source in removed:
            await workspace.remove(source)
        return Result(tuple(outputs), tuple(source.uri for source in removed))

    def _archive(self) -> Storage:
        if self._root is None:
            raise ProcessingRefused("there is no archive: PIPELINE_COPY_ROOT is not set")
        return self._root


@dataclass(frozen=True, slots=True)
class _Target:
    root: Storage
    folder: str
    name: str
    slot: str
    move: bool


def _moved(inputs: Sequence[Artifact], outputs: Sequence[Artifact]) -> tuple[Artifact, ...]:
    """The originals; a file that lies where it should go already is its own copy and stays."""
    kept = {file.uri for file in outputs}
    return tuple(source for source in inputs if source.uri not in kept)


async def _copy(source: Artifact, target: _Target, workspace: Workspace) -> Artifact:
    draft = await workspace.stage(source, target.root, target.folder, slot=target.slot, link=target.move)
    copied = await workspace.publish_to(
        target.root, target.folder, draft, name=target.name, slot=target.slot, expected=source.sha256
    )
    storage, key = workspace.files.open(copied.uri)
    if await sha256_at(storage, key) != copied.sha256:
        await storage.delete(key)
        raise ProcessingInterrupted(f"{target.name} does not read back as it was written")
    return copied

"""What a processor is, what it gets and gives, and the registry of those there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from contracts.processors import BadStep, check_step
from contracts.values import Artifact, Json, Processor, Step
from pydantic import BaseModel, ValidationError

from services.pipeline.adapters.failure import ProcessingRefused
from services.pipeline.adapters.workspace import Workspace
from services.pipeline.domain.destinations import Context

Options = TypeVar("Options", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Task:
    """One job as its processor sees it. The files it made before a crash are known to its workspace."""

    step: Step
    inputs: tuple[Artifact, ...]
    context: Context


@dataclass(frozen=True, slots=True)
class Result:
    """What a job hands on, and the inputs that are gone now because it moved or replaced them."""

    outputs: tuple[Artifact, ...]
    removed: tuple[str, ...] = ()


class MediaProcessor(Protocol):
    """Makes files from files. It hands on what it cannot use, and finds its own outputs again when it is run a second time."""

    def check(self, options: Json) -> None:
        """Raise ProcessingRefused when the options of a step are wrong."""
        ...

    async def run(self, task: Task, workspace: Workspace) -> Result:
        """Do the job; raises ProcessingError. Cancelling the task leaves no program and no half file behind."""
        ...


class Processors:
    """The processors of this replica. Upload steps are known, but the uploader does them."""

    def __init__(self, processors: Mapping[Processor, MediaProcessor]) -> None:
        self._processors = dict(processors)

    def find(self, step: Step) -> MediaProcessor:
        """The processor of a step; raises ProcessingRefused for one this replica does not have."""
        try:
            return self._processors[step.processor]
        except KeyError:
            raise ProcessingRefused(f"no processor {step.processor.value} here") from None

    def check(self, step: Step) -> None:
        """Raise ProcessingRefused when a step cannot be run as it is written."""
        try:
            check_step(step)
        except BadStep as error:
            raise ProcessingRefused(str(error)) from None
        if step.processor is not Processor.UPLOAD:
            self.find(step).check(step.options)


def parse(model: type[Options], options: Mapping[str, Any]) -> Options:
    """Options as their processor reads them; raises ProcessingRefused naming the first mistake."""
    try:
        return model.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ProcessingRefused(f"option {name or 'set'}: {first['msg']}") from None

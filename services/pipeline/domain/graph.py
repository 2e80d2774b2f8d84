"""Steps as a graph, the ids of what is made from them, and lists of files that fit into an event."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID, uuid5

from contracts.values import Artifact, Step

MAX_STEPS = 64
MAX_FILES_BYTES = 192 * 1024
"""How much of one event a list of files may fill; the bus takes events of 512 KiB, and a release may stand beside its plan."""

_NAMESPACE = UUID("6d4b1c1e-58a1-5f0c-9d0a-6f3f6f6c2f57")


def problem_of(steps: Sequence[Step]) -> str:
    """Why steps are no graph that can be run, or an empty text."""
    ids = [step.id for step in steps]
    if not steps:
        return "there are no steps"
    if len(steps) > MAX_STEPS:
        return f"there are {len(steps)} steps, at most {MAX_STEPS} are run"
    if len(set(ids)) != len(ids):
        return f"two steps have the id {next(id for id in ids if ids.count(id) > 1)}"
    done: set[str] = set()
    waiting = list(steps)
    while waiting:
        ready = {step.id for step in waiting if set(step.after) <= done}
        if not ready:
            return f"{waiting[0].id} waits for an unknown step or for itself"
        done |= ready
        waiting = [step for step in waiting if step.id not in done]
    return ""


def last_steps(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps no other one waits for, in the order of their definition."""
    awaited = {id for step in steps for id in step.after}
    return tuple(step for step in steps if step.id not in awaited)


def merged(*lists: Iterable[Artifact]) -> tuple[Artifact, ...]:
    """Several lists as one; a file that occurs again is left out."""
    by_uri: dict[str, Artifact] = {}
    for artifacts in lists:
        for artifact in artifacts:
            by_uri.setdefault(artifact.uri, artifact)
    return tuple(by_uri.values())


def weight(artifacts: Iterable[Artifact]) -> int:
    """Bytes a list of files takes in an event."""
    return sum(_weight(artifact) for artifact in artifacts)


def parts(artifacts: Iterable[Artifact], limit: int = MAX_FILES_BYTES) -> list[tuple[Artifact, ...]]:
    """A list cut into lists of at most ``limit`` bytes; none for an empty one."""
    cut: list[list[Artifact]] = []
    room = 0
    for artifact in artifacts:
        room -= _weight(artifact)
        if room < 0 or not cut:
            cut.append([])
            room = limit - _weight(artifact)
        cut[-1].append(artifact)
    return [tuple(part) for part in cut]


def run_id(session_id: str, kind: str, recording_id: str, index: int) -> str:
    """The id of the run a session plans for something: the same one, whoever plans it and however often."""
    return _id(session_id, kind, recording_id, str(index))


def job_id(run_id: str, step_id: str, attempt: int) -> str:
    """The id of a step's job. ``attempt`` counts the retries of the run: a job that is run again is another job."""
    return _id(run_id, step_id, str(attempt))


def upload_id(job_id: str, number: int) -> str:
    """The id of one upload of an upload job; the first one has the id of the job."""
    return f"{job_id}-{number}" if number else job_id


def job_of_upload(upload_id: str) -> str:
    """The job an upload would belong to, if the pipeline had started it."""
    return upload_id.partition("-")[0]


def _id(*parts: str) -> str:
    return uuid5(_NAMESPACE, "/".join(parts)).hex


def _weight(artifact: Artifact) -> int:
    return len(artifact.model_dump_json().encode()) + 1

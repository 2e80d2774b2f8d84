"""Where copies and uploads go: a base a person chose, folders from a template, and the name of the file. No part can climb out of the base."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

from contracts.processors import (
    FIELD,
    FOLDER_FIELDS,
    BadDestination,
    UploadOptions,
    check_destination,
    check_folder,
)
from contracts.values import Artifact, Step
from media.naming import sanitise
from pydantic import ValidationError

from services.pipeline.domain.session import Session

MAX_NAME_BYTES = 250
"""Below the 255 bytes of common file systems, with room for a number."""


@dataclass(frozen=True, slots=True)
class Context:
    """What templates may name."""

    session_id: str
    streamer: str = ""
    title: str = ""
    platform: str = ""
    date: str = ""
    upload_to: str = ""


def context_of(session_id: str, state: Session) -> Context:
    """The names of a session; little more than its id when the pipeline never heard of it."""
    plan = state.plan
    if plan is None:
        return Context(session_id)
    return Context(session_id, plan.streamer_name, plan.title, plan.platform, plan.started_at[:10], plan.upload_to)


def upload_targets(step: Step, inputs: tuple[Artifact, ...], context: Context) -> tuple[str, ...]:
    """The full address for each input; raises BadDestination."""
    try:
        options = UploadOptions.model_validate(step.options)
    except ValidationError as error:
        raise BadDestination(f"the options are wrong: {error.errors()[0]['msg']}") from None
    base = options.to or context.upload_to
    if not base:
        raise BadDestination("there is no destination: set upload_to, or the option 'to' of the step")
    if not inputs:
        raise BadDestination("there is nothing to upload")
    check_destination(base)
    folder = folder_of(options.folder, context)
    return tuple(f"{base.rstrip('/')}/{quote(f'{folder}/{name}')}" for name in names_of(inputs))


def folder_of(template: str, context: Context) -> str:
    """Folders from a template such as ``{streamer}/{session_id}``; each part is made harmless. Raises BadDestination."""
    check_folder(template)
    values = {name: str(getattr(context, name)) for name in FOLDER_FIELDS}
    # Values are filled in part by part, so that a slash in a title makes no folder.
    parts = [FIELD.sub(lambda found: values[found[1]], part) for part in template.split("/") if part.strip()]
    return "/".join(sanitise(part) for part in parts)


def names_of(inputs: tuple[Artifact, ...]) -> list[str]:
    """The file names of several artifacts, each one different from the others whatever the case of its letters."""
    taken: set[str] = set()
    names: list[str] = []
    for artifact in inputs:
        plain = name_of(artifact.uri)
        name, number = plain, 1
        while name.lower() in taken:
            number += 1
            name = numbered(plain, number)
        taken.add(name.lower())
        names.append(name)
    return names


def name_of(uri: str) -> str:
    """The file name at the end of an artifact's address."""
    return sanitise(unquote(uri.rpartition("/")[2]), limit=MAX_NAME_BYTES)


def numbered(name: str, number: int) -> str:
    """A file name with a number before its extension; the first one has none."""
    if number <= 1:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        return f"{name[:200]}.{number}"
    return f"{sanitise(stem, limit=200)}.{number}{dot}{suffix[:20]}"

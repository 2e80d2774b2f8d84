"""Where copies and uploads go: a base a person chose, folders from a template, and the name of the file. No part can climb out of the base."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit

from contracts.values import Artifact, Step, Strict, Uri
from media.naming import sanitise
from pydantic import Field, ValidationError

from services.pipeline.domain.session import Session

DEFAULT_FOLDER = "{streamer}/{session_id}"
MAX_NAME_BYTES = 250
"""Below the 255 bytes of common file systems, with room for a number."""
_FIELD = re.compile(r"\{([^{}]*)\}")

Folder = Annotated[str, Field(max_length=500)]


class BadDestination(ValueError):
    """There is no destination, or it is none that a file can be sent to."""


class UploadOptions(Strict):
    """Options of an ``upload`` step. ``to``: base address, else the streamer's ``upload_to``; ``folder``: below it."""

    to: Uri | None = None
    folder: Folder = DEFAULT_FOLDER


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
    check_base(base)
    folder = folder_of(options.folder, context)
    return tuple(f"{base.rstrip('/')}/{quote(f'{folder}/{name}')}" for name in names_of(inputs))


def check_base(base: str) -> None:
    """Refuse an address that is no folder of a store, carries credentials, or climbs."""
    parts = urlsplit(base)
    stands = parts.netloc if parts.scheme == "s3" else parts.path.startswith("/") and parts.netloc in ("", "localhost")
    if parts.scheme not in ("s3", "file") or not stands:
        raise BadDestination("a destination is s3://bucket/prefix or file:///folder")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise BadDestination("a destination carries no credentials, query or fragment")
    if any(part in (".", "..") for part in unquote(parts.path).split("/")) or not unquote(base).isprintable():
        raise BadDestination("a destination has no '.' or '..' and no control characters")


def folder_of(template: str, context: Context) -> str:
    """Folders from a template such as ``{streamer}/{session_id}``; each part is made harmless. Raises BadDestination."""
    values = {name: getattr(context, name) for name in ("session_id", "streamer", "title", "platform", "date")}
    unknown = [name for name in _FIELD.findall(template) if name not in values]
    if unknown:
        raise BadDestination(f"unknown field {{{unknown[0]}}}: known are {', '.join(sorted(values))}")
    # Values are filled in part by part, so that a slash in a title makes no folder.
    parts = [_FIELD.sub(lambda found: values[found[1]], part) for part in template.split("/") if part.strip()]
    if not parts:
        raise BadDestination("the folder is empty")
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

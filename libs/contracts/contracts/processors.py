"""The options of each pipeline processor, as a person writes them into a step: ``{"processor": "thumbnail", "options": {"width": 640}}``.

One place says what is right, for whoever accepts a pipeline (config, long before a file exists) and for whoever runs it (pipeline).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, StringConstraints, ValidationError

from contracts.values import Processor, Step, Strict, Uri

DEFAULT_FOLDER = "{streamer}/{session_id}"
FOLDER_FIELDS = ("date", "platform", "session_id", "streamer", "title")
"""What a folder template may name."""
PLACEHOLDERS = ("{input}", "{output_dir}", "{session_id}", "{title}")
"""What an argument of ``execute`` may be instead of a text."""
FIELD = re.compile(r"\{([^{}]*)\}")
_PLACEHOLDER = re.compile(r"\{[a-z_]*\}")

Folder = Annotated[str, Field(max_length=500)]
Argument = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$")]


class BadStep(ValueError):
    """Options that the processor of a step does not read, or not so; the message names the first one."""


class BadDestination(ValueError):
    """There is no destination, or it is none that a file can be sent to."""


class RemuxOptions(Strict):
    """``format``: the container; ``remove_input``: delete the original once the new file is there and whole."""

    format: Literal["mp4", "mkv"] = "mp4"
    remove_input: bool = False


class ThumbnailOptions(Strict):
    """``at_s``: seconds into the video, a shorter one gives its first frame; ``width`` in pixels; ``quality``: 2 is best, 31 worst."""

    at_s: Annotated[float, Field(ge=0, le=86_400)] = 10.0
    width: Annotated[int, Field(ge=16, le=7680)] = 320
    quality: Annotated[int, Field(ge=2, le=31)] = 2


class CopyOptions(Strict):
    """``to``: folders below the archive, a template of :data:`FOLDER_FIELDS`; ``operation``: a move removes the original."""

    to: Folder = DEFAULT_FOLDER
    operation: Literal["copy", "move"] = "copy"


class UploadOptions(Strict):
    """``to``: base address, else the streamer's ``upload_to``; ``folder``: below it, a template of :data:`FOLDER_FIELDS`."""

    to: Uri | None = None
    folder: Folder = DEFAULT_FOLDER


class ExecuteOptions(Strict):
    """``program``: one of PIPELINE_ALLOW_EXECUTE; ``arguments``: a placeholder is a whole argument.

    ``{input}`` becomes one argument for each file, ``{output_dir}`` the folder whose files are collected. ``extensions``: only these files are
    given to the program; ``timeout_s``: the job fails after this time, at the latest when PIPELINE_JOB_TIMEOUT_S has passed.
    """

    program: Annotated[str, Field(max_length=4096)]
    arguments: Annotated[tuple[Argument, ...], Field(max_length=64)] = ("{input}", "{output_dir}")
    extensions: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 3600.0


OPTIONS: Mapping[Processor, type[Strict]] = {
    Processor.REMUX: RemuxOptions,
    Processor.THUMBNAIL: ThumbnailOptions,
    Processor.COPY: CopyOptions,
    Processor.UPLOAD: UploadOptions,
    Processor.EXECUTE: ExecuteOptions,
}


def check_step(step: Step) -> None:
    """Refuse options that no replica could run, whatever its settings; raises BadStep."""
    try:
        options = OPTIONS[step.processor].model_validate(step.options)
    except ValidationError as error:
        raise BadStep(_explained(step.processor, error)) from None
    try:
        match options:
            case CopyOptions():
                check_folder(options.to)
            case UploadOptions():
                check_folder(options.folder)
                if options.to is not None:
                    check_destination(options.to)
            case ExecuteOptions():
                check_arguments(options)
    except BadDestination as error:
        raise BadStep(str(error)) from None


def check_destination(base: str) -> None:
    """Refuse an address that is no folder of a store, carries credentials, or climbs; raises BadDestination."""
    try:
        parts = urlsplit(base)
    except ValueError:
        raise BadDestination("the destination is no address") from None
    stands = parts.netloc if parts.scheme == "s3" else parts.path.startswith("/") and parts.netloc in ("", "localhost")
    if parts.scheme not in ("s3", "file") or not stands:
        raise BadDestination("a destination is s3://bucket/prefix or file:///folder")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise BadDestination("a destination carries no credentials, query or fragment")
    if any(part in (".", "..") for part in unquote(parts.path).split("/")) or not unquote(base).isprintable():
        raise BadDestination("a destination has no '.' or '..' and no control characters")


def check_folder(template: str) -> None:
    """Refuse a folder template without a folder, or with a field that nobody fills in; raises BadDestination."""
    unknown = [name for name in FIELD.findall(template) if name not in FOLDER_FIELDS]
    if unknown:
        raise BadDestination(f"unknown field {{{unknown[0]}}}: known are {', '.join(FOLDER_FIELDS)}")
    if not any(part.strip() for part in template.split("/")):
        raise BadDestination("the folder is empty")


def check_arguments(options: ExecuteOptions) -> None:
    """Refuse a placeholder that is not known or not a whole argument; raises BadStep."""
    for argument in options.arguments:
        unknown = [found for found in _PLACEHOLDER.findall(argument) if found not in PLACEHOLDERS]
        if unknown:
            raise BadStep(f"unknown placeholder {unknown[0]}: known are {', '.join(PLACEHOLDERS)}")
        if argument not in PLACEHOLDERS and any(found in argument for found in PLACEHOLDERS):
            raise BadStep(f"a placeholder is a whole argument, unlike in {argument!r}")


def _explained(processor: Processor, error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"option {name} is not known; {processor.value} has {', '.join(OPTIONS[processor].model_fields)}"
    return f"option {name or 'set'}: {first['msg']}"

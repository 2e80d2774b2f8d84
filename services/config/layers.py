"""What a layer of the configuration may say: everything that can be known to be wrong is refused when it is written, not when a broadcast begins."""

from __future__ import annotations

from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from contracts.aggregate import Rejected
from contracts.engines import BadOptions, options_of
from contracts.processors import BadDestination, BadStep, check_destination, check_step
from contracts.values import Filters, Layer, Network, Pipelines, Step
from media.naming import BadTemplate, check_template

PROXIES = ("http", "socks4", "socks5")
MAX_LAYER = 64 * 1024
"""Bytes as JSON: four layers together fit into one event with room to spare, also beside the facts of a recording."""


def check_layer(layer: Layer) -> None:
    """Refuse what no field type can: templates that lead outside, pipelines that cannot run, options nobody reads, more than an event takes."""
    check_size(layer)
    if layer.file_template is not None:
        try:
            check_template(layer.file_template)
        except BadTemplate as error:
            raise Rejected("Bad file template", status=422, detail=str(error)) from None
    if layer.pipelines is not None:
        check_pipelines(layer.pipelines)
    if layer.engine_options is not None:
        try:
            options_of(layer.engine_options)
        except BadOptions as error:
            raise Rejected("Bad engine options", status=422, detail=str(error)) from None
    if layer.network is not None:
        check_network(layer.network)
    if layer.filters is not None:
        check_filters(layer.filters)
    if layer.upload_to is not None:
        check_upload_to(layer.upload_to)


def check_size(layer: Layer) -> None:
    """Refuse a layer that would not fit into the events that carry it: its command would be buried instead of answered."""
    size = len(layer.model_dump_json(exclude_none=True).encode())
    if size > MAX_LAYER:
        detail = f"a layer has {size} bytes as JSON, at most {MAX_LAYER} are kept"
        raise Rejected("Content Too Large", status=413, detail=detail)


def check_upload_to(base: str) -> None:
    """Refuse a destination that no upload could reach: otherwise the first file would tell."""
    try:
        check_destination(base)
    except BadDestination as error:
        raise Rejected("Bad destination", status=422, detail=f"upload_to: {error}") from None


def check_filters(filters: Filters) -> None:
    """Refuse a window in a time zone that does not exist: no check of the channel could tell whether it is open."""
    for window in filters.windows:
        try:
            ZoneInfo(window.timezone)
        except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
            raise Rejected(
                "Unknown time zone",
                status=422,
                detail=f"{window.timezone!r} is no time zone; write it as Europe/Berlin or UTC",
            ) from None


def check_network(network: Network) -> None:
    """Refuse a proxy that no engine understands or that carries a password, and header values that would break a request."""
    for name in ("referer", "user_agent"):
        if any(ord(char) < 32 or ord(char) == 127 for char in getattr(network, name)):
            raise Rejected("Bad network", status=422, detail=f"{name} contains a control character")
    if not network.proxy:
        return
    try:
        parts = urlsplit(network.proxy)
        port = parts.port
    except ValueError:
        raise Rejected("Bad network", status=422, detail="the proxy is no address") from None
    if parts.scheme not in PROXIES or not parts.hostname or not port or parts.path.strip("/") or parts.query:
        raise Rejected(
            "Bad network", status=422, detail=f"write the proxy as scheme://host:port; schemes are {', '.join(PROXIES)}"
        )
    if parts.username or parts.password:
        raise Rejected(
            "Bad network",
            status=422,
            detail="the proxy carries a login; store it as a credential and name it in account",
        )


def check_pipelines(pipelines: Pipelines) -> None:
    """Refuse a pipeline with a doubled id, an unknown predecessor, a circle, or a step that no processor could run."""
    for moment in Pipelines.model_fields:
        steps: tuple[Step, ...] = getattr(pipelines, moment)
        done: set[str] = set()
        ids = [step.id for step in steps]
        if len(set(ids)) != len(ids):
            raise Rejected("Bad pipeline", status=422, detail=f"{moment}: two steps have the same id")
        for step in steps:
            try:
                check_step(step)
            except BadStep as error:
                raise Rejected("Bad pipeline", status=422, detail=f"{moment}: {step.id}: {error}") from None
        waiting = list(steps)
        while waiting:
            ready = [step for step in waiting if set(step.after) <= done]
            if not ready:
                raise Rejected(
                    "Bad pipeline",
                    status=422,
                    detail=f"{moment}: {waiting[0].id} waits for an unknown step or for itself",
                )
            done |= {step.id for step in ready}
            waiting = [step for step in waiting if step.id not in done]

"""The AsyncAPI 3.0 document of the whole bus, derived from the registry, the topology and the streams.

One channel per message type, whose address has ``{id}`` where the subject has an id; one operation per service that sends or receives it. Payloads
are AsyncAPI Schema Objects (JSON Schema Draft 07 and a little more, the default format of the specification), shared below ``components``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic.json_schema import models_json_schema

from contracts import catalogue, prose, schemas, streams, subjects, topology
from contracts.envelope import MESSAGE_ID, REPLAYED, SPEC_VERSION
from contracts.message import PREFIX, Event, Message
from contracts.registry import Registry
from contracts.system import SERVICES

ASYNCAPI = "3.0.0"
HEADERS = "EnvelopeHeaders"
_UUID = {"type": "string", "format": "uuid"}


def document(registry: Registry, version: str) -> dict[str, Any]:
    """The whole document; ``version`` is that of the product, e.g. ``0.1.0``."""
    messages = registry.all()
    return {
        "asyncapi": ASYNCAPI,
        "info": _info(version),
        "defaultContentType": "application/json",
        "channels": {cls.message_type: _channel(cls) for cls in messages},
        "operations": dict(_operations(messages)),
        "components": {
            "schemas": {HEADERS: _headers(), **_payloads(messages)},
            "messages": {cls.message_type: _message(cls) for cls in messages},
            "messageTraits": {"envelope": _trait()},
            "correlationIds": {
                "cause": {
                    "description": "The same for everything that follows from one request.",
                    "location": "$message.header#/ce-correlationid",
                }
            },
        },
    }


def _info(version: str) -> dict[str, Any]:
    owners = {module.__name__.rsplit(".", 1)[-1]: module.__doc__ or "" for module in catalogue.MODULES}
    return {
        "title": "Aircheck",
        "version": version,
        "description": "Every event, command and signal on the bus: NATS JetStream, CloudEvents 1.0 in binary mode.",
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        "tags": [{"name": service, "description": prose.markdown(owners[service])} for service in SERVICES],
    }


def _channel(cls: type[Message]) -> dict[str, Any]:
    address = subjects.template_of(cls.message_type)
    channel: dict[str, Any] = {
        "address": address,
        "title": cls.__name__,
        "summary": prose.when(cls),
        "messages": {cls.__name__: {"$ref": f"#/components/messages/{cls.message_type}"}},
        "tags": [{"name": cls.service}],
        "x-stream": streams.stream_of(address),
    }
    if "{id}" in address:
        channel["parameters"] = {
            "id": {
                "description": f"The `{cls.key_field}` of the message.",
                "location": f"$message.payload#/{cls.key_field}",
            }
        }
    return channel


def _message(cls: type[Message]) -> dict[str, Any]:
    return {
        "name": cls.full_type(),
        "title": cls.__name__,
        "summary": prose.when(cls),
        "description": prose.description(cls),
        "payload": {"$ref": f"#/components/schemas/{cls.__name__}"},
        "tags": [{"name": schemas.kind(cls)}],
        "traits": [{"$ref": "#/components/messageTraits/envelope"}],
    }


def _trait() -> dict[str, Any]:
    return {
        "contentType": "application/json",
        "headers": {"$ref": f"#/components/schemas/{HEADERS}"},
        "correlationId": {"$ref": "#/components/correlationIds/cause"},
    }


def _operations(messages: list[type[Message]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for cls in messages:
        for service in topology.senders(cls):
            yield _operation(service, "send", cls, f"The {service} service sends it.")
        for service in topology.receivers(cls):
            yield _operation(service, "receive", cls, f"The {service} service reacts to it.")
        if issubclass(cls, Event):
            yield _operation(
                topology.PROJECTOR, "receive", cls, "The gateway's projector reads it into the event store."
            )


def _operation(who: str, action: str, cls: type[Message], summary: str) -> tuple[str, dict[str, Any]]:
    channel = f"#/channels/{cls.message_type}"
    return f"{who}.{action}.{cls.message_type}", {
        "action": action,
        "channel": {"$ref": channel},
        "summary": summary,
        "tags": [{"name": "gateway" if who == topology.PROJECTOR else who}],
        "messages": [{"$ref": f"{channel}/messages/{cls.__name__}"}],
    }


def _payloads(messages: list[type[Message]]) -> dict[str, Any]:
    _, generated = models_json_schema(
        [(cls, "validation") for cls in messages], ref_template="#/components/schemas/{model}"
    )
    payloads: dict[str, Any] = schemas.open_objects(generated["$defs"])
    return payloads


def _headers() -> dict[str, Any]:
    """What :meth:`contracts.envelope.Envelope.to_headers` writes."""
    return {
        "type": "object",
        "title": HEADERS,
        "description": "CloudEvents 1.0 attributes (`ce-`), W3C Trace Context, and what JetStream needs.",
        "properties": {
            MESSAGE_ID: {**_UUID, "description": "The same as `ce-id`; JetStream drops a repeat within its window."},
            "content-type": {"const": "application/json"},
            "ce-specversion": {"const": SPEC_VERSION},
            "ce-id": {**_UUID, "description": "UUID version 7: ids grow with time."},
            "ce-type": {"type": "string", "pattern": rf"^{PREFIX}\.", "description": "The name of the message."},
            "ce-source": {"type": "string", "pattern": "^/services/", "description": "The service that sent it."},
            "ce-subject": {"type": "string", "description": "`<aggregate>/<id>` of an event, else the key."},
            "ce-time": {"type": "string", "format": "date-time"},
            "ce-dataschema": {"type": "string", "format": "uri-reference"},
            "ce-sequence": {
                "type": "string",
                "pattern": "^[0-9]+$",
                "description": "The version of the aggregate after this event, from 1; 0 for commands and signals.",
            },
            "ce-correlationid": {**_UUID, "description": "The request everything began with."},
            "ce-causationid": {**_UUID, "description": "The message that led to this one."},
            "ce-actor": {"type": "string", "description": "Who asked, when it was a person or a program."},
            "traceparent": {"type": "string"},
            "tracestate": {"type": "string"},
            REPLAYED: {"const": "true", "description": "Sent again from a log, with the id it had at first."},
        },
        "required": [
            MESSAGE_ID,
            "content-type",
            "ce-specversion",
            "ce-id",
            "ce-type",
            "ce-source",
            "ce-subject",
            "ce-time",
            "ce-dataschema",
            "ce-sequence",
            "ce-correlationid",
        ],
    }

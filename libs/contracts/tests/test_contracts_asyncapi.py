"""The AsyncAPI document: complete, and consistent in itself.

No installed package carries the JSON Schema of AsyncAPI 3.0, so the demands of the specification that a generator can break are checked here one
by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from contracts import asyncapi, streams, subjects, topology
from contracts.envelope import Envelope, Metadata, wrap
from contracts.message import Event
from contracts.monitor import ChannelWentOffline
from contracts.registry import Registry, load_vocabulary
from jsonschema import Draft7Validator, ValidationError

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Document:
    """As it is written to disk: through JSON, so that a value JSON has no word for would show."""
    written: Document = json.loads(json.dumps(asyncapi.document(load_vocabulary(), "1.2.3"), allow_nan=False))
    return written


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for below in value.values():
            yield from walk(below)
    elif isinstance(value, list):
        for below in value:
            yield from walk(below)


def resolve(document: Document, ref: str) -> Any:
    assert ref.startswith("#/"), f"{ref} leads out of the document"
    found: Any = document
    for part in ref[2:].split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def test_the_document_names_its_version_and_the_product(document: Document) -> None:
    assert document["asyncapi"] == "3.0.0"
    assert document["info"]["title"] == "Aircheck"
    assert document["info"]["version"] == "1.2.3"
    assert set(document) == {"asyncapi", "info", "defaultContentType", "channels", "operations", "components"}


def test_every_reference_resolves(document: Document) -> None:
    refs = [node["$ref"] for node in walk(document) if isinstance(node.get("$ref"), str)]
    assert len(refs) > 500
    for ref in refs:
        assert resolve(document, ref) is not None


def test_keys_of_components_are_spelled_as_the_specification_demands(document: Document) -> None:
    for name, section in document["components"].items():
        for key in section:
            assert re.fullmatch(r"[\w.\-]+", key, re.ASCII), (name, key)


def test_every_message_has_one_channel_with_its_subject(document: Document, vocabulary: Registry) -> None:
    assert set(document["channels"]) == {cls.message_type for cls in vocabulary.all()}
    addresses = [channel["address"] for channel in document["channels"].values()]
    assert len(set(addresses)) == len(addresses)
    for cls in vocabulary.all():
        channel = document["channels"][cls.message_type]
        assert channel["address"].replace("{id}", "*") == subjects.filter_of(cls)
        assert channel["x-stream"] == streams.stream_of(channel["address"])
        assert list(channel["messages"]) == [cls.__name__]


def test_parameters_are_those_of_the_address_and_lie_in_the_body(document: Document, vocabulary: Registry) -> None:
    for cls in vocabulary.all():
        channel = document["channels"][cls.message_type]
        assert set(channel.get("parameters", {})) == set(re.findall(r"{(\w+)}", channel["address"]))
        for parameter in channel.get("parameters", {}).values():
            field = re.fullmatch(r"\$message\.payload#/(\w+)", parameter["location"])
            assert field
            payload = resolve(document, document["components"]["messages"][cls.message_type]["payload"]["$ref"])
            assert field[1] in payload["required"]


def test_every_operation_has_an_existing_channel_and_a_message_of_it(document: Document) -> None:
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        channel_ref = operation["channel"]["$ref"]
        assert channel_ref.startswith("#/channels/")
        assert resolve(document, channel_ref)
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel_ref}/messages/")
            assert resolve(document, message["$ref"])


def test_operations_are_those_of_the_topology(document: Document, vocabulary: Registry) -> None:
    found = {tuple(name.split(".", 2)) for name in document["operations"]}
    wanted = set()
    for cls in vocabulary.all():
        wanted |= {(service, "send", cls.message_type) for service in topology.senders(cls)}
        wanted |= {(service, "receive", cls.message_type) for service in topology.receivers(cls)}
        wanted |= {(topology.PROJECTOR, "receive", cls.message_type)} if issubclass(cls, Event) else set()
    assert found == wanted


def test_the_name_of_an_operation_agrees_with_what_it_says(document: Document) -> None:
    for name, operation in document["operations"].items():
        who, action, message_type = name.split(".", 2)
        assert operation["action"] == action
        assert operation["channel"]["$ref"] == f"#/channels/{message_type}"
        assert operation["tags"] == [{"name": "gateway" if who == topology.PROJECTOR else who}]


def test_every_tag_of_an_operation_is_a_described_service(document: Document) -> None:
    described = {tag["name"] for tag in document["info"]["tags"] if tag["description"]}
    used = {tag["name"] for operation in document["operations"].values() for tag in operation["tags"]}
    assert used == described


def test_every_message_has_a_name_a_summary_a_payload_and_the_headers(document: Document, vocabulary: Registry) -> None:
    for cls in vocabulary.all():
        message = document["components"]["messages"][cls.message_type]
        assert message["name"] == cls.full_type()
        assert message["summary"]
        assert resolve(document, message["payload"]["$ref"])["title"] == cls.__name__
        [trait] = message["traits"]
        assert resolve(document, trait["$ref"])["headers"]["$ref"] == "#/components/schemas/EnvelopeHeaders"


def test_schemas_are_draft_07_which_is_the_default_format_of_a_payload(document: Document) -> None:
    newer = {"$defs", "prefixItems", "unevaluatedProperties", "dependentRequired", "dependentSchemas", "$dynamicRef"}
    for schema in document["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)
        assert not newer & {keyword for node in walk(schema) for keyword in node}


def headers_validator(document: Document) -> Draft7Validator:
    return Draft7Validator({**document["components"]["schemas"]["EnvelopeHeaders"], "additionalProperties": False})


def enveloped(*, replayed: bool, full: bool) -> Envelope:
    text = "x" if full else None
    metadata = Metadata(uuid4(), uuid4() if full else None, traceparent=text, tracestate=text, actor=text)
    plain = wrap(ChannelWentOffline(streamer_id="a"), id=uuid4(), metadata=metadata, source="monitor", sequence=1)
    headers = {**plain.to_headers(), "Aircheck-Replayed": str(replayed).lower()}
    return Envelope.from_headers(headers, plain.data)


def test_the_headers_are_those_an_envelope_writes(document: Document) -> None:
    schema = document["components"]["schemas"]["EnvelopeHeaders"]
    assert set(schema["properties"]) == set(enveloped(replayed=True, full=True).to_headers())
    assert set(schema["required"]) == set(enveloped(replayed=False, full=False).to_headers())
    for envelope in (enveloped(replayed=True, full=True), enveloped(replayed=False, full=False)):
        headers_validator(document).validate(envelope.to_headers())


@pytest.mark.parametrize(
    ("name", "value"),
    [("ce-specversion", "0.3"), ("ce-type", "other.type"), ("ce-sequence", "-1"), ("ce-unknown", "x"), ("ce-id", 5)],
)
def test_other_headers_do_not_pass(document: Document, name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        headers_validator(document).validate({**enveloped(replayed=False, full=False).to_headers(), name: value})


def test_the_correlation_id_is_found_in_the_headers(document: Document) -> None:
    location = document["components"]["correlationIds"]["cause"]["location"]
    header = location.removeprefix("$message.header#/")
    assert header in enveloped(replayed=False, full=False).to_headers()


def test_the_same_vocabulary_gives_the_same_document() -> None:
    first, second = (asyncapi.document(load_vocabulary(), "1") for _ in range(2))
    assert json.dumps(first) == json.dumps(second)

"""The page for people: complete, true to the topology, and readable where it is shown."""

from __future__ import annotations

import re

import pytest
from contracts import prose, reference, schemas, streams, system, topology
from contracts.message import Event
from contracts.registry import Registry, load_vocabulary
from contracts.system import SERVICES


@pytest.fixture(scope="module")
def page() -> str:
    return reference.page(load_vocabulary())


def rows(page: str) -> list[list[str]]:
    """The cells of every table row, without heads and rules."""
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in cells if row[0] not in {"type", "stream"}]


def test_every_message_of_a_service_has_one_row_that_says_who_and_when(page: str, vocabulary: Registry) -> None:
    found = {row[0]: row[1:] for row in rows(page)}
    for cls in vocabulary.all():
        if issubclass(cls, system.SHAPES):
            continue
        link = f"[`{cls.message_type}`](../libs/contracts/schemas/{cls.message_type}.json)"
        receivers = [*topology.receivers(cls), *(["gateway (projector)"] if issubclass(cls, Event) else [])]
        assert found[link] == [
            prose.when(cls),
            f"`{cls.key_field}`",
            ", ".join(topology.senders(cls)),
            ", ".join(receivers),
        ]
        assert page.count(link) == 1


def test_messages_of_every_service_are_described_once(page: str, vocabulary: Registry) -> None:
    for shape in system.SHAPES:
        types = {system.of(service, shape).message_type for service in SERVICES}
        placeholders = {f"`{name.replace(name.split('.')[0], '<service>', 1)}`" for name in types}
        assert len(placeholders) == 1
        assert sum(row[0] in placeholders for row in rows(page)) == 1
        assert not any(name in page for name in types)
    [republish] = [row for row in rows(page) if row[0] == "`<service>.republish.v1`"]
    assert republish[1:] == [
        "command",
        "Send a range of a service's own log to the bus again, with the same ids.",
        "`request_id`",
        "gateway",
        "the service",
    ]


def test_every_stream_is_explained_with_its_readers(page: str) -> None:
    found = {row[0]: row[1:] for row in rows(page)}
    for spec in streams.STREAMS:
        subjects, why, _, readers = found[f"`{spec.name}`"]
        assert subjects == f"`{', '.join(spec.subjects)}`"
        assert why == spec.why
        wanted = [consumer.name for consumer in streams.consumers() if consumer.stream == spec.name]
        assert readers == (", ".join(wanted) or "none")
    assert found["`COMMANDS`"][2] == "file, until handled"
    assert found["`EVENTS`"][2] == "file, 30 d"
    assert found["`SIGNALS`"][2].endswith("1 per subject")


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [
        (0, "file"),
        (20, "file, 20 s"),
        (90, "file, 90 s"),
        (600, "file, 10 min"),
        (7_200, "file, 2 h"),
        (86_400, "file, 1 d"),
    ],
)
def test_ages_are_said_in_the_largest_whole_unit(seconds: float, kept: str) -> None:
    assert reference._kept(streams.StreamSpec("X", ("x.>",), "why", max_age_s=seconds)) == kept


def drawn(page: str) -> dict[tuple[str, str, str], str]:
    """Arrow → label of the diagram, by (from, arrow, to)."""
    diagram = page.split("```mermaid\n", 1)[1].split("```", 1)[0]
    arrow = re.compile(r'^ {4}(\w+) (-->|==>|-\.->)\|"([^"]+)"\| (\w+)$', re.MULTILINE)
    return {(start, kind, end): label for start, kind, label, end in arrow.findall(diagram)}


def test_the_picture_has_an_arrow_where_something_flows_and_no_other(page: str, vocabulary: Registry) -> None:
    arrows = {"event": "-->", "command": "==>", "signal": "-.->"}
    wanted = {
        (sender, arrows[schemas.kind(cls)], receiver)
        for cls in vocabulary.all()
        if not issubclass(cls, system.SHAPES)
        for sender in topology.senders(cls)
        for receiver in topology.receivers(cls)
        if receiver != "gateway"
    }
    assert set(drawn(page)) == wanted


def test_an_arrow_names_what_flows_or_counts_it_when_it_is_much(page: str) -> None:
    labels = drawn(page)
    assert labels["monitor", "-.->", "downloader"] == "sources"
    assert labels["config", "-->", "scheduler"] == "streamer.removed<br/>streamer.resolved"
    assert labels["gateway", "==>", "config"] == "9 commands"


def test_every_service_is_a_section_and_links_lead_to_one(page: str) -> None:
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    assert set(SERVICES) <= set(headings)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", page)) <= anchors
    assert len(set(headings)) == len(headings)


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert reference._table(("a",), [("x|y",)]).splitlines()[-1] == r"| x\|y |"


@pytest.mark.parametrize(
    ("doc", "sentence"),
    [
        ("One. Two.", "One."),
        ("Only one.", "Only one."),
        ("Broken over\n    two lines. And more.", "Broken over two lines."),
        ("With ``code.v1`` inside. More.", "With `code.v1` inside."),
        ("Ends at 1.5 s, e.g. always. More.", "Ends at 1.5 s, e.g. always."),
        ("No full stop", "No full stop"),
        ("", ""),
    ],
)
def test_when_is_the_first_sentence_of_the_docstring(doc: str, sentence: str) -> None:
    cls = type("Documented", (), {"__doc__": doc})
    assert prose.when(cls) == sentence  # type: ignore[arg-type]


def test_a_class_does_not_borrow_the_docstring_of_its_base(private_registry: Registry) -> None:
    class Silent(Event, type="shop.thing.sold.v1", key="thing_id"):
        thing_id: str

    assert prose.description(Silent) == ""

"""Every format from one log: what they hold, for any text, and what other recorders' files give."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media.chat.ass import AssOptions, ass_lines
from media.chat.captions import one_line
from media.chat.editing import Realigned, merged, shifted
from media.chat.formats import OutputFormat, Style, UnknownFormat, open_chat, write_chat
from media.chat.head import ChatHead
from media.chat.log import ChatLogReader, ChatLogWriter, LogHead
from media.chat.message import ChatMessage, MessageKind
from media.chat.srt import srt_lines
from media.chat.timing import Timed, Timing
from media.chat.xml_reader import InvalidXml, XmlChatReader

START = 1_750_000_000_000
HEAD = ChatHead("bilibili", "1017", "Ann & Bob", title="<live>", live_started_at=START - 5)
ANY_TEXT = st.text(st.characters(), max_size=30)
MESSAGES = st.lists(
    st.builds(
        ChatMessage,
        st.sampled_from(MessageKind),
        st.integers(START, START + 10_000_000),
        id=ANY_TEXT,
        user=ANY_TEXT,
        uid=ANY_TEXT,
        text=ANY_TEXT,
        gift=ANY_TEXT,
        price=st.integers(0, 10**9),
        colour=st.integers(0, 0xFFFFFF),
        mode=st.sampled_from([1, 4, 5, 6]),
        size=st.sampled_from([18, 25, 36, 1000]),
    ),
    max_size=12,
)
DIALOGUE = re.compile(
    r"Dialogue: [01],(\d+):(\d\d):(\d\d)\.(\d\d),(\d+):(\d\d):(\d\d)\.(\d\d),chat,,0,0,0,,\{(\\[^{}\n]*)\}([^{}\n\\]*)\n"
)


def log_of(path: Path, messages: list[ChatMessage], head: LogHead | None = None) -> Path:
    writer = ChatLogWriter(path, head or LogHead(HEAD, Timing(START)))
    for message in messages:
        writer.append(message)
    writer.close()
    return path


def convert(source: Path, to: OutputFormat, style: Style | None = None) -> Path:
    chat = open_chat(source)
    path = source.with_suffix(f".{to}")
    write_chat(chat, path, to, head=lambda: chat.head, start_ms=lambda: chat.start_ms, style=style or Style())
    return path


def chat(offset: int, text: str, **more: object) -> Timed:
    return Timed(offset, ChatMessage(MessageKind.CHAT, START + offset, text=text, **more))  # type: ignore[arg-type]


@settings(max_examples=60)
@given(MESSAGES)
def test_any_messages_survive_the_way_through_log_and_json(
    tmp_path_factory: pytest.TempPathFactory, messages: list[ChatMessage]
) -> None:
    folder = tmp_path_factory.mktemp("formats")

    converted = open_chat(convert(log_of(folder / "a.jsonl.gz", messages), OutputFormat.JSON))

    assert list(converted) == [Timed(message.received_at - START, message) for message in messages]
    assert (converted.head, converted.damaged) == (HEAD, 0)
    assert converted.start_ms == (START if messages else converted.start_ms)


@settings(max_examples=60)
@given(MESSAGES)
def test_any_messages_make_a_file_of_every_format(
    tmp_path_factory: pytest.TempPathFactory, messages: list[ChatMessage]
) -> None:
    source = log_of(tmp_path_factory.mktemp("formats") / "a.jsonl.gz", messages)
    style = Style(AssOptions(gifts=True), gifts=True)
    paths = {to: convert(source, to, style) for to in OutputFormat}

    rows = list(XmlChatReader(paths[OutputFormat.XML]))
    ElementTree.parse(paths[OutputFormat.XML])
    with paths[OutputFormat.CSV].open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    drawn = [
        line for line in paths[OutputFormat.ASS].read_text().splitlines(keepends=True) if line.startswith("Dialogue")
    ]

    in_xml = [one for one in messages if one.kind in {"chat", "gift", "super_chat", "membership"}]
    assert [one.offset_ms for one in rows] == [one.received_at - START for one in in_xml]
    assert [row["kind"] for row in table] == [one.kind.value for one in messages]
    assert all(DIALOGUE.fullmatch(line) for line in drawn)
    assert len(drawn) == sum(bool(one.text) or one.kind is not MessageKind.CHAT for one in in_xml)
    cues = re.findall(r"(\d+)\n[\d:,]{12} --> [\d:,]{12}\n([^\n]+)\n\n", paths[OutputFormat.SRT].read_text())
    assert [int(number) for number, _ in cues] == list(range(1, len(cues) + 1))
    assert "".join(paths[OutputFormat.SRT].read_text()).count("-->") == len(cues)


def test_a_log_says_what_it_is_and_older_ones_begin_with_their_first_message(tmp_path: Path) -> None:
    message = ChatMessage(MessageKind.CHAT, START + 700, text="hi")
    new = ChatLogReader(log_of(tmp_path / "new.gz", [message]))
    writer = ChatLogWriter(tmp_path / "old.gz")
    writer.append(message)
    writer.close()

    assert list(new) == [message] and new.skipped_lines == 0
    assert new.about == LogHead(HEAD, Timing(START))
    assert [one.offset_ms for one in open_chat(tmp_path / "new.gz")] == [700]
    assert [one.offset_ms for one in open_chat(tmp_path / "old.gz")] == [0]


def starts(lines: list[str]) -> list[int]:
    found = [DIALOGUE.fullmatch(line) for line in lines if line.startswith("Dialogue")]
    return [
        ((int(one[1]) * 60 + int(one[2])) * 60 + int(one[3])) * 1000 + int(one[4]) * 10
        for one in found
        if one is not None
    ]


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=300), st.sampled_from([1, 4, 5]))
def test_no_message_is_ever_late_however_full_the_screen_is(offsets: list[int], mode: int) -> None:
    options = AssOptions(height=270, font_size=40)

    lines = list(ass_lines([chat(offset, "a long enough line of chat", mode=mode) for offset in offsets], options))

    assert starts(lines) == [offset // 10 * 10 for offset in sorted(offsets)]


def test_lines_that_have_room_do_not_touch() -> None:
    """Two scrolling lines share a lane only when the first has entered whole and the second cannot catch up."""
    options = AssOptions(width=1000, height=200, font_size=40, scroll_s=10)
    lines = list(ass_lines([chat(offset, "x" * 50) for offset in (0, 0, 2_000, 6_000, 9_000)], options))
    tracks = [re.search(r"move\(1000,(\d+),-1001,", line) for line in lines if line.startswith("Dialogue")]

    # 1001 pixels at 2001 pixels in 10 s: whole after 5.0 s.
    assert [int(one[1]) for one in tracks if one] == [0, 45, 90, 0, 45]


def test_modes_sizes_and_colours_are_drawn() -> None:
    lines = list(
        ass_lines(
            [
                chat(0, "top", mode=5, colour=0xFF8000),
                chat(0, "bottom", mode=4),
                chat(0, "small", size=18),
                chat(0, "dark", colour=0x000010),
                chat(0, "a{b}\\N"),
            ],
            AssOptions(width=1280, height=720, font_size=40, opacity=0.5),
            "a show",
        )
    )

    assert "PlayResX: 1280\nPlayResY: 720\n" in lines[0] and "sans-serif,40,&H80FFFFFF" in lines[0]
    assert lines[1].endswith("{\\an8\\pos(640,0)\\c&H0080FF&}top\n")
    assert lines[2].endswith("{\\an2\\pos(640,720)}bottom\n")
    assert "\\fs28}small" in lines[3]
    assert lines[4].endswith("\\c&H100000&\\3c&HFFFFFF&}dark\n")
    assert lines[5].endswith("a｛b｝＼N\n")


@pytest.mark.parametrize(
    "wrong",
    [{"width": 0}, {"font_size": 0}, {"opacity": 0}, {"area": 1.5}, {"scroll_s": 0}, {"font": "a,b"}],
)
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        AssOptions(**wrong)  # type: ignore[arg-type]


def test_a_subtitle_says_who_spoke_and_cannot_break_the_file() -> None:
    paid = ChatMessage(MessageKind.SUPER_CHAT, START, user="Bob", text="wow", price=30_500, currency="CNY")
    gift = ChatMessage(MessageKind.GIFT, START, user="Eve", gift="rose", quantity=3)
    messages = [chat(61_001, "1\n\n2\n00:00 --> x", user="Ann"), Timed(500, paid), Timed(700, gift)]

    assert "".join(srt_lines(messages, cue_s=2)) == (
        "1\n00:00:00,500 --> 00:00:02,500\nBob [CNY 30.5]: wow\n\n"
        "2\n00:01:01,001 --> 00:01:03,001\nAnn: 1 2 00:00 → x\n\n"
    )
    assert "Eve: rose ×3" in "".join(srt_lines(messages, gifts=True))


@given(ANY_TEXT)
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    one_line(text).encode()


OTHERS = {
    # Attribute orders and elements as these recorders document their files.
    "BililiveRecorder": (
        '<?xml version="1.0" encoding="utf-8"?>\n<?xml-stylesheet type="text/xsl" href="#s"?>\n<i>\n'
        '<BililiveRecorderRecordInfo roomid="1" name="n" title="t" />\n'
        '<d p="1.500,5,25,16711680,1750000001500,0,42,0" user="Ann">hi</d>\n'
        '<sc ts="2.250" user="Bob" uid="7" price="30" time="60">paid</sc>\n'
        '<gift ts="3" user="Eve" uid="8" giftname="rose" giftcount="2" />\n'
        '<guard ts="4" user="Mia" uid="9" level="3" count="1" />\n</i>\n'
    ),
    "biliup": (
        '<?xml version="1.0" encoding="utf-8"?>\n<i>\n'
        '\t<d p="1.500,5,25,16711680,1750000001,0,42,0" timestamp="1750000001" uid="42" user="Ann">hi</d>\n'
        '\t<s timestamp="1750000002" uid="7" username="Bob" price="30" type="super_chat">paid</s>\n'
        '\t<s timestamp="1750000003" uid="8" username="Eve" price="0" type="gift" num="2" giftname="rose"></s>\n'
        '\t<s timestamp="1750000004" uid="9" username="Mia" price="198" type="guard_buy" num="1" giftname="guard"></s>\n</i>'
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_files_of_other_recorders_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "other.xml").write_text(OTHERS[name])
    rows = list(open_chat(tmp_path / "other.xml"))

    said, paid, gift, guard = (row.message for row in rows)
    assert (rows[0].offset_ms, said.text, said.user, said.uid, said.mode, said.colour) == (
        1500,
        "hi",
        "Ann",
        "42",
        5,
        0xFF0000,
    )
    assert (paid.kind, paid.text, paid.price, paid.user) == (MessageKind.SUPER_CHAT, "paid", 30_000, "Bob")
    assert (gift.kind, gift.gift, gift.quantity) == (MessageKind.GIFT, "rose", 2)
    assert (guard.kind, guard.user) == (MessageKind.MEMBERSHIP, "Mia")
    assert [row.offset_ms for row in rows[1:]] == ([2250, 3000, 4000] if name != "biliup" else [2500, 3500, 4500])


def test_raw_control_characters_a_torn_end_and_bad_rows_cost_only_themselves(tmp_path: Path) -> None:
    (tmp_path / "torn.xml").write_text(
        '<i><d p="1,1,25,1,0,0,0,0">a\x08b</d><d p="nan,1">x</d><d>y</d><d p="2,1,25,1,0">c</d><d p="3,'
    )
    reader = XmlChatReader(tmp_path / "torn.xml")

    assert [(one.offset_ms, one.message.text) for one in reader] == [(1000, "ab"), (2000, "c")]
    assert reader.skipped == 2


@pytest.mark.parametrize(
    "text", ["<html><body/></html>", '<!DOCTYPE i [<!ENTITY a "b">]><i>&a;</i>', "<i><d></i>", "<", "<i>&nbsp;</i>"]
)
def test_what_is_no_chat_xml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.xml").write_text(text)

    with pytest.raises(InvalidXml):
        list(open_chat(tmp_path / "bad.xml"))


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b'{"a":1}', b"plain text"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)

    with pytest.raises(UnknownFormat):
        open_chat(tmp_path / "file")


@pytest.mark.parametrize(("by", "places", "dropped"), [(500, [500, 1500], 0), (-400, [600], 1), (0, [0, 1000], 0)])
def test_moving_keeps_what_is_still_in_the_video(by: int, places: list[int], dropped: int) -> None:
    moved = Realigned([chat(0, "a"), chat(1000, "b")], shifted(by))

    assert [one.offset_ms for one in moved] == places
    assert moved.dropped == dropped


@given(st.lists(st.lists(st.integers(0, 100), max_size=20), max_size=4))
def test_merging_keeps_every_message_in_order(inputs: list[list[int]]) -> None:
    found = list(merged([[chat(offset, "x") for offset in one] for one in inputs]))

    assert [one.offset_ms for one in found] == sorted(offset for one in inputs for offset in one)


def test_a_failed_conversion_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("precious")

    def broken() -> object:
        yield chat(0, "a")
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write_chat(broken(), target, OutputFormat.CSV, head=ChatHead, start_ms=lambda: 0, style=Style())  # type: ignore[arg-type]

    assert target.read_text() == "precious" and [path.name for path in tmp_path.iterdir()] == ["out.csv"]

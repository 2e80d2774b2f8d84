"""Chat XML: well-formed for any input, in the dialect that converters read, and mended after a crash."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media.chat.head import ChatHead
from media.chat.message import ChatMessage, MessageKind
from media.chat.timing import Timed, Timing
from media.chat.xml import XmlChatWriter, element, escape, xml_lines

START = 1_750_000_000_000
HEAD = ChatHead("bilibili", "1017", "Ann & Bob", title="<live>", category="Chess", live_started_at=START - 60_000)
CHAT = ChatMessage(
    MessageKind.CHAT,
    START + 12_345,
    sent_at=START + 12_000,
    user="Ann",
    uid="6088969",
    text="hi",
    colour=9_920_249,
    mode=4,
    size=18,
)
ANY_TEXT = st.text(st.characters(), max_size=30)
XML_HOLDS = (MessageKind.CHAT, MessageKind.GIFT, MessageKind.SUPER_CHAT, MessageKind.MEMBERSHIP)
MESSAGES = st.builds(
    ChatMessage,
    st.sampled_from(MessageKind),
    st.integers(0, 1 << 45),
    user=ANY_TEXT,
    uid=ANY_TEXT,
    text=ANY_TEXT,
    gift=ANY_TEXT,
    currency=ANY_TEXT,
    price=st.integers(0, 10**9),
)


def legal(text: str) -> str:
    """XML 1.0, production 2: Char."""
    return "".join(
        c for c in text if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )


def render(messages: Iterable[ChatMessage], path: Path, head: ChatHead) -> int:
    """What the service does: message by message; the whole file at once must be the same."""
    writer = XmlChatWriter(path, Timing(START), head)
    for message in messages:
        writer.write(message)
    writer.close()
    at_once = "".join(xml_lines(map(Timing(START).of, messages), head, START))
    assert path.read_bytes() == at_once.encode()
    return writer.rows


def root_of(path: Path) -> ElementTree.Element:
    return ElementTree.fromstring(path.read_bytes())


def test_a_comment_in_full() -> None:
    """`p` = offset, mode, size, colour, unix ms, pool, sender, row. The sender is CRC-32 over the user id.

    6088969 -> 0bc8acd0 is the pair of info[2][0] and info[0][7] in the example of DANMU_MSG in "bilibili-API-collect".
    """
    assert element(CHAT, 12_345, 7) == (
        f'<d p="12.345,4,18,9920249,{START + 12_000},0,0bc8acd0,7" user="Ann" uid="6088969">hi</d>\n'
    )


def test_a_gift_a_super_chat_and_a_membership() -> None:
    paid = CHAT._replace(price=30_500, currency="CNY", gift="Flower", quantity=3)

    gift = ElementTree.fromstring(element(paid._replace(kind=MessageKind.GIFT), 12_345, 0))
    sc = ElementTree.fromstring(element(paid._replace(kind=MessageKind.SUPER_CHAT, duration_s=60), 12_345, 0))
    guard = ElementTree.fromstring(element(paid._replace(kind=MessageKind.MEMBERSHIP, level=3), 12_345, 0))

    common = {"ts": "12.345", "user": "Ann", "uid": "6088969", "timestamp": str(START + 12_000)}
    price = {"price": "30.5", "currency": "CNY"}
    assert (gift.tag, gift.attrib) == ("gift", {**common, **price, "giftname": "Flower", "giftcount": "3"})
    assert (sc.tag, sc.attrib, sc.text) == ("sc", {**common, **price, "time": "60"}, "hi")
    assert (guard.tag, guard.attrib) == ("guard", {**common, **price, "level": "3", "count": "3", "giftname": "Flower"})


@pytest.mark.parametrize(
    ("thousandths", "written"), [(0, "0"), (100, "0.1"), (30_000, "30"), (1, "0.001"), (1_010, "1.01")]
)
def test_a_price_is_a_plain_decimal(thousandths: int, written: str) -> None:
    line = element(CHAT._replace(kind=MessageKind.GIFT, price=thousandths), 12_345, 0)

    assert ElementTree.fromstring(line).attrib["price"] == written


def test_nothing_happens_before_the_start() -> None:
    assert Timing(START + 99_999).of(CHAT) == Timed(0, CHAT)


def test_a_message_without_a_platform_time_is_dated_by_its_receipt() -> None:
    assert f",{START + 12_345},0," in element(CHAT._replace(sent_at=0), 12_345, 0)


def test_declaration_and_root_share_the_first_line(tmp_path: Path) -> None:
    """danmakuC takes a file for protobuf when they do not."""
    render([CHAT], tmp_path / "chat.xml", HEAD)

    first, *_, last = (tmp_path / "chat.xml").read_text().splitlines()
    assert first == '<?xml version="1.0" encoding="UTF-8"?><i>'
    assert last == "</i>"


def test_the_head_says_what_was_recorded(tmp_path: Path) -> None:
    render([], tmp_path / "chat.xml", HEAD)

    metadata = root_of(tmp_path / "chat.xml").find("metadata")
    assert metadata is not None
    assert {child.tag: child.text for child in metadata} == {
        "platform": "bilibili",
        "user_name": "Ann & Bob",
        "room_id": "1017",
        "room_title": "<live>",
        "area": "Chess",
        "parent_area": None,
        "live_start_time": "2025-06-15T15:05:40.000+00:00",
        "record_start_time": "2025-06-15T15:06:40.000+00:00",
        "recorder": "aircheck",
    }


@given(ANY_TEXT)
def test_escaping_keeps_all_that_xml_can_hold(text: str) -> None:
    written = escape(text)

    assert ElementTree.fromstring(f"<d>{written}</d>".encode()).text == (legal(text) or None)
    assert ElementTree.fromstring(f'<d a="{written}"/>'.encode()).attrib["a"] == legal(text)
    assert "\n" not in written


@pytest.mark.parametrize("text", ["\x00\x08\x0b\x1f", "\ud800", "\udfff", "\ufffe\uffff"])
def test_what_xml_cannot_hold_is_left_out(text: str) -> None:
    assert escape(f"a{text}b") == "ab"


@given(st.lists(MESSAGES, max_size=8), ANY_TEXT)
def test_any_messages_make_a_well_formed_file(
    tmp_path_factory: pytest.TempPathFactory, messages: list[ChatMessage], title: str
) -> None:
    path = tmp_path_factory.mktemp("xml") / "chat.xml"

    rows = render(messages, path, ChatHead(title, title, title, title, title, title, START, title))

    root = root_of(path)
    held = [message for message in messages if message.kind in XML_HOLDS]
    comments = [message for message in held if message.kind is MessageKind.CHAT]
    assert rows == len(held) == len(root) - 1
    assert [d.text for d in root.findall("d")] == [legal(message.text) or None for message in comments]
    assert [d.attrib["user"] for d in root.findall("d")] == [legal(message.user) for message in comments]


def test_rows_are_numbered_through(tmp_path: Path) -> None:
    render([CHAT] * 250, tmp_path / "chat.xml", HEAD)

    rows = [d.attrib["p"].rpartition(",")[2] for d in root_of(tmp_path / "chat.xml").findall("d")]
    assert rows == [str(number) for number in range(250)]


def test_a_flush_hands_everything_to_the_system(tmp_path: Path) -> None:
    writer = XmlChatWriter(tmp_path / "chat.xml", Timing(START), HEAD)
    writer.write(CHAT)
    before = (tmp_path / "chat.xml").read_bytes()
    writer.flush()
    after = (tmp_path / "chat.xml").read_bytes()

    assert b"<d " not in before
    assert after.endswith(b"</d>\n")
    assert writer.close() == (tmp_path / "chat.xml").stat().st_size
    assert writer.close() == (tmp_path / "chat.xml").stat().st_size


def test_a_file_is_not_written_over(tmp_path: Path) -> None:
    render([], tmp_path / "chat.xml", HEAD)

    with pytest.raises(FileExistsError):
        XmlChatWriter(tmp_path / "chat.xml", Timing(START), HEAD)


def test_the_sender_of_a_comment_is_the_checksum_of_the_id() -> None:
    line = element(CHAT._replace(uid="x" * 5), 12_345, 0)

    assert f",0,{zlib.crc32(b'xxxxx'):08x},0" in line

"""Chat XML goes through a converter that people use, whatever viewers wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from biliass import convert_to_ass
from media.chat.message import ChatMessage, MessageKind
from media.chat.timing import Timing
from media.chat.xml import XmlChatWriter

from libs.media.tests.chat.test_chat_xml import CHAT, HEAD, START

DIALOGUE = re.compile(r"^Dialogue: \d+,(\d:\d\d:\d\d\.\d\d),.*?,\{(.*?)\}(.*)$", re.MULTILINE)
SHOWN = {
    "plain": "plain",
    "<b>&amp;\"'": "<b>&amp;\"'",
    "汉字 弹幕": "汉字 弹幕",
    "😀🏴‍☠️": "😀🏴‍☠️",
    "\x00between\x08controls\x1f": "betweencontrols",
    "half\ud83d!": "half!",
    "]]> <!--": "]]> <!--",
    "\u202eright to left": "\u202eright to left",
}


def converted(messages: list[ChatMessage], path: Path) -> list[tuple[str, str, str]]:
    """Start, style and text of each line of the ASS that the converter makes."""
    writer = XmlChatWriter(path, Timing(START), HEAD)
    for message in messages:
        writer.write(message)
    writer.close()
    return DIALOGUE.findall(convert_to_ass(path.read_bytes(), 1920, 1080, reduce_comments=False))


def test_every_text_arrives_at_its_time(tmp_path: Path) -> None:
    messages = [
        CHAT._replace(text=text, received_at=START + 61_000 * number, sent_at=0) for number, text in enumerate(SHOWN)
    ]

    lines = converted(messages, tmp_path / "chat.xml")

    assert [text for _, _, text in lines] == list(SHOWN.values())
    assert [start for start, _, _ in lines] == [f"0:{61 * n // 60:02}:{61 * n % 60:02}.00" for n in range(len(SHOWN))]


def test_colour_size_and_place_are_understood(tmp_path: Path) -> None:
    [(_, style, _)] = converted([CHAT], tmp_path / "chat.xml")

    # Mode 4 stands at the bottom; the converter shifts #975EF9 to the colours of the picture and writes blue, green, red.
    assert r"\an2" in style and r"\fs18" in style and r"\c&HF34E93&" in style


@pytest.mark.parametrize("kind", [MessageKind.GIFT, MessageKind.SUPER_CHAT, MessageKind.MEMBERSHIP])
def test_what_a_converter_does_not_know_does_not_stop_it(kind: MessageKind, tmp_path: Path) -> None:
    paid = CHAT._replace(kind=kind, gift="Flower", price=30_000, currency="CNY")

    lines = converted([paid, CHAT._replace(text="after it", received_at=START + 20_000)], tmp_path / "chat.xml")

    assert lines[-1][2] == "after it"

"""The pair of files of a segment: named when finished."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
from media.chat.head import ChatHead
from media.chat.log import ChatLogReader
from media.chat.message import ChatMessage, MessageKind
from media.chat.timing import Timing

from services.danmu.adapters.chatfile import ChatFile

START = 1_750_000_000_000
HEAD = ChatHead("bilibili", "1017", "Ann")


def chat(number: int) -> ChatMessage:
    return ChatMessage(MessageKind.CHAT, START + number, user="Ann", uid="1", text=f"line {number}")


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_segment_s_files_get_their_names_when_they_are_finished(tmp_path: Path) -> None:
    file = ChatFile.open(tmp_path / "show.001", Timing(START), HEAD)
    file.write(chat(1))
    file.write(ChatMessage(MessageKind.JOIN, START + 2, user="Bob"))
    file.write(chat(3))
    during = names(tmp_path)

    result = file.close()

    assert during == {"show.001.chat.jsonl.gz.part", "show.001.xml.part"}
    assert names(tmp_path) == {"show.001.chat.jsonl.gz", "show.001.xml"}
    assert (result.lines, result.kinds) == (3, {"chat": 2, "join": 1})
    assert result.bytes == result.log_path.stat().st_size + result.xml_path.stat().st_size
    assert [message.kind.value for message in ChatLogReader(result.log_path)] == ["chat", "join", "chat"]
    assert [d.text for d in ElementTree.parse(result.xml_path).getroot().findall("d")] == ["line 1", "line 3"]


def test_a_segment_without_chat_has_files_all_the_same(tmp_path: Path) -> None:
    result = ChatFile.open(tmp_path / "deep" / "er" / "show", Timing(START), HEAD).close()

    assert (result.lines, result.kinds) == (0, {})
    assert list(ChatLogReader(result.log_path)) == []
    assert ElementTree.parse(result.xml_path).getroot().tag == "i"


@pytest.mark.parametrize("suffix", [".chat.jsonl.gz", ".xml", ".chat.jsonl.gz.part", ".xml.part"])
def test_nothing_is_written_over(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"show{suffix}").write_text("precious")

    with pytest.raises(FileExistsError):
        ChatFile.open(tmp_path / "show", Timing(START), HEAD)

    assert names(tmp_path) == {f"show{suffix}"}
    assert (tmp_path / f"show{suffix}").read_text() == "precious"


def test_discarding_leaves_nothing(tmp_path: Path) -> None:
    file = ChatFile.open(tmp_path / "show", Timing(START), HEAD)
    file.write(chat(1))

    file.discard()

    assert names(tmp_path) == set()


def test_both_files_have_everything_after_the_disk_was_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ChatFile.open(tmp_path / "show", Timing(START), HEAD)
    real_write = os.write

    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "write", full)
    refused = 0
    for number in range(150):
        try:
            file.write(chat(number))
        except OSError:
            refused += 1
    monkeypatch.setattr(os, "write", real_write)
    result = file.close()

    expected = [f"line {number}" for number in range(150)]
    assert refused == 51
    assert result.lines == 150
    assert [message.text for message in ChatLogReader(result.log_path)] == expected
    assert [d.text for d in ElementTree.parse(result.xml_path).getroot().findall("d")] == expected

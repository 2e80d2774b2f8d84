"""The pair of files of a segment: named when finished, and what a killed process leaves."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from services.danmu.adapters.chatfile import ChatFile
from services.danmu.adapters.log import ChatLogReader
from services.danmu.adapters.messages import ChatMessage, MessageKind
from services.danmu.adapters.xml import ChatHead

START = 1_750_000_000_000
HEAD = ChatHead("bilibili", "1017", "Ann")


def chat(number: int) -> ChatMessage:
    return ChatMessage(MessageKind.CHAT, START + number, user="Ann", uid="1", text=f"line {number}")


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_segment_s_files_get_their_names_when_they_are_finished(tmp_path: Path) -> None:
    file = ChatFile.open(tmp_path / "show.001", START, HEAD)
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
    result = ChatFile.open(tmp_path / "deep" / "er" / "show", START, HEAD).close()

    assert (result.lines, result.kinds) == (0, {})
    assert list(ChatLogReader(result.log_path)) == []
    assert ElementTree.parse(result.xml_path).getroot().tag == "i"


@pytest.mark.parametrize("suffix", [".chat.jsonl.gz", ".xml", ".chat.jsonl.gz.part", ".xml.part"])
def test_nothing_is_written_over(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"show{suffix}").write_text("precious")

    with pytest.raises(FileExistsError):
        ChatFile.open(tmp_path / "show", START, HEAD)

    assert names(tmp_path) == {f"show{suffix}"}
    assert (tmp_path / f"show{suffix}").read_text() == "precious"


def test_discarding_leaves_nothing(tmp_path: Path) -> None:
    file = ChatFile.open(tmp_path / "show", START, HEAD)
    file.write(chat(1))

    file.discard()

    assert names(tmp_path) == set()


def test_there_is_nothing_to_resume_where_nothing_was_begun(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ChatFile.resume(tmp_path / "show", START, HEAD)

    assert names(tmp_path) == set()


CHILD = """
import sys
from pathlib import Path
from services.danmu.adapters.chatfile import ChatFile
from services.danmu.adapters.messages import ChatMessage, MessageKind
from services.danmu.adapters.xml import ChatHead

START = 1_750_000_000_000
file = ChatFile.open(Path(sys.argv[1]), START, ChatHead("bilibili", "1017", "Ann"))
for number in range(250):
    file.write(ChatMessage(MessageKind.CHAT, START + number, user="Ann", uid="1", text=f"line {number}"))
file.flush()
for number in range(250, 260):
    file.write(ChatMessage(MessageKind.CHAT, START + number, user="Ann", uid="1", text=f"line {number}"))
print("written", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_loses_only_what_came_after_its_last_flush(tmp_path: Path) -> None:
    """Given a process killed with SIGKILL after 250 flushed and 10 unflushed messages, when another one goes on."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "show")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdin is not None
    with child, child.stdout, child.stdin:
        assert child.stdout.readline() == "written\n"
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=30)
    left = names(tmp_path)

    file = ChatFile.resume(tmp_path / "show", START, HEAD)
    file.write(chat(999))
    result = file.close()

    assert left == {"show.chat.jsonl.gz.part", "show.xml.part"}
    expected = [f"line {number}" for number in [*range(250), 999]]
    assert [message.text for message in ChatLogReader(result.log_path)] == expected
    comments = ElementTree.parse(result.xml_path).getroot().findall("d")
    assert [d.text for d in comments] == expected
    assert [d.attrib["p"].rpartition(",")[2] for d in comments] == [str(row) for row in range(251)]
    assert (result.lines, result.kinds) == (251, {"chat": 251})
    assert result.bytes == result.log_path.stat().st_size + result.xml_path.stat().st_size


def test_a_torn_log_is_resumed_up_to_the_tear(tmp_path: Path) -> None:
    file = ChatFile.open(tmp_path / "show", START, HEAD)
    for number in range(20):
        file.write(chat(number))
        file.flush()
    file.close()
    (tmp_path / "show.chat.jsonl.gz").rename(tmp_path / "show.chat.jsonl.gz.part")
    (tmp_path / "show.xml").unlink()
    part = tmp_path / "show.chat.jsonl.gz.part"
    part.write_bytes(part.read_bytes()[:-5])

    result = ChatFile.resume(tmp_path / "show", START, HEAD).close()

    assert result.lines == 19
    assert len(ElementTree.parse(result.xml_path).getroot().findall("d")) == 19


def test_a_crash_between_the_two_renames_is_resumed(tmp_path: Path) -> None:
    """The XML gets its final name first; the log, last, is what says that the pair is finished."""
    file = ChatFile.open(tmp_path / "show", START, HEAD)
    file.write(chat(1))
    result = file.close()
    result.log_path.rename(tmp_path / "show.chat.jsonl.gz.part")

    again = ChatFile.resume(tmp_path / "show", START, HEAD).close()

    assert names(tmp_path) == {"show.chat.jsonl.gz", "show.xml"}
    assert (again.lines, again.bytes) == (result.lines, result.bytes)


def test_both_files_have_everything_after_the_disk_was_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ChatFile.open(tmp_path / "show", START, HEAD)
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

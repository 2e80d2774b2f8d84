"""The chat log: complete gzip members, readable up to a torn end, and after damage in the middle."""

from __future__ import annotations

import errno
import gzip
import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media.chat.log import MEMBER_MESSAGES, ChatLogReader, ChatLogWriter
from media.chat.message import ChatMessage, MessageKind, encode_line


def message(number: int) -> ChatMessage:
    return ChatMessage(MessageKind.CHAT, 1_000 + number, user=f"user {number % 7}", text=f"line {number} é 🎉")


def written(path: Path, count: int, *, members_of: int = 10) -> list[ChatMessage]:
    messages = [message(number) for number in range(count)]
    writer = ChatLogWriter(path)
    for number, each in enumerate(messages, 1):
        writer.append(each)
        if number % members_of == 0:
            writer.flush()
    writer.close()
    return messages


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    messages = written(path, 250)
    reader = ChatLogReader(path)

    assert list(reader) == messages
    assert (reader.damaged_members, reader.skipped_lines) == (0, 0)


def test_any_gzip_reader_reads_it(tmp_path: Path) -> None:
    written(tmp_path / "log.gz", 25)

    assert len(gzip.decompress((tmp_path / "log.gz").read_bytes()).splitlines()) == 25


def test_a_hundred_messages_are_written_without_a_flush(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    writer = ChatLogWriter(path)
    for number in range(MEMBER_MESSAGES - 1):
        writer.append(message(number))
    before = path.stat().st_size

    writer.append(message(MEMBER_MESSAGES))

    assert before == 0
    assert len(list(ChatLogReader(path))) == MEMBER_MESSAGES
    assert writer.close() == path.stat().st_size


def test_a_flush_makes_one_message_readable_at_once(tmp_path: Path) -> None:
    writer = ChatLogWriter(tmp_path / "log.gz")
    writer.append(message(1))
    writer.flush()

    assert list(ChatLogReader(tmp_path / "log.gz")) == [message(1)]
    writer.close()


def test_closing_twice_and_flushing_nothing_add_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    writer = ChatLogWriter(path)
    writer.append(message(1))
    size = writer.close()

    assert writer.close() == size == path.stat().st_size
    assert writer.lines == 1


def test_a_log_is_not_written_over(tmp_path: Path) -> None:
    written(tmp_path / "log.gz", 1)

    with pytest.raises(FileExistsError):
        ChatLogWriter(tmp_path / "log.gz")


def test_an_empty_log_has_no_messages(tmp_path: Path) -> None:
    (tmp_path / "log.gz").touch()
    reader = ChatLogReader(tmp_path / "log.gz")

    assert list(reader) == []


@given(cut=st.integers(0, 2000))
def test_a_torn_log_is_read_up_to_the_tear(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "log.gz"
    messages = written(path, 60)
    data = path.read_bytes()
    kept = data[: max(len(data) - cut, 0)]
    path.write_bytes(kept)
    whole = sum(1 for end in member_ends(data) if end <= len(kept))

    read = list(ChatLogReader(path))

    assert read == messages[: len(read)]
    assert len(read) >= 10 * whole


def test_damage_in_the_middle_costs_one_member(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    messages = written(path, 50)
    data = bytearray(path.read_bytes())
    first, *_ = member_ends(bytes(data))
    data[first : first + 3] = b"???"
    path.write_bytes(data)
    reader = ChatLogReader(path)

    assert list(reader) == messages[:10] + messages[20:]
    assert reader.damaged_members == 1


def test_a_line_that_is_no_message_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    messages = written(path, 3)
    with path.open("ab") as file:
        file.write(gzip.compress(b'not json\n{"kind":"chat","received_at":1}\n'))
    reader = ChatLogReader(path)

    assert list(reader) == [*messages, ChatMessage(MessageKind.CHAT, 1)]
    assert reader.skipped_lines == 1


def test_a_member_that_unpacks_without_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    with path.open("wb") as file:
        for _ in range(80):
            file.write(bomb.compress(bytes(1 << 20)))
        file.write(bomb.flush())
    reader = ChatLogReader(path)

    assert list(reader) == []
    assert reader.damaged_members >= 1


def member_ends(data: bytes) -> list[int]:
    ends, rest = [], data
    while rest:
        inflater = zlib.decompressobj(31)
        inflater.decompress(rest)
        rest = inflater.unused_data
        ends.append(len(data) - len(rest))
    return ends


def test_a_full_disk_leaves_no_torn_member_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.gz"
    writer = ChatLogWriter(path)
    writer.append(message(1))
    writer.flush()
    writer.append(message(2))
    real_write = os.write

    def half_then_full(descriptor: int, data: memoryview) -> int:
        monkeypatch.setattr(os, "write", full)
        return real_write(descriptor, data[: len(data) // 2])

    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "write", half_then_full)
    with pytest.raises(OSError, match="no space"):
        writer.flush()
    reader = ChatLogReader(path)
    during = list(reader)
    monkeypatch.setattr(os, "write", real_write)
    writer.close()

    assert during == [message(1)]
    assert reader.damaged_members == 0
    assert list(ChatLogReader(path)) == [message(1), message(2)]


def test_lines_that_come_together_are_members_of_a_hundred(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    messages = [message(number) for number in range(2 * MEMBER_MESSAGES + 50)]
    writer = ChatLogWriter(path)
    writer.extend([encode_line(one) for one in messages])

    assert list(ChatLogReader(path)) == messages, "a hundred and more are written without a flush"
    first = zlib.decompressobj(31)
    assert first.decompress(path.read_bytes()).count(b"\n") == MEMBER_MESSAGES
    assert writer.close() == path.stat().st_size and writer.lines == len(messages)

"""The journal: what survives a kill, what is forgotten, and what two owners both received."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from media.chat.log import ChatLogReader
from media.chat.message import ChatMessage, MessageKind, encode_line

from services.danmu.adapters.journal import (
    HAND_OVER_MS,
    MAX_UNWRITTEN,
    Journal,
    chunk_paths,
    left_behind,
    received_between,
)

START = 1_750_000_000_000
ALL = (0, 1 << 62)


def chat(number: int, at: int | None = None, **fields: object) -> ChatMessage:
    values = {"sent_at": START + number, "uid": "1", "text": f"line {number}", **fields}
    return ChatMessage(MessageKind.CHAT, START + number if at is None else at, **values)  # type: ignore[arg-type]


def add(journal: Journal, *messages: ChatMessage) -> None:
    journal.extend(messages, [encode_line(message) for message in messages])


def texts(journal: Journal, lower: int = ALL[0], upper: int = ALL[1]) -> list[str]:
    return [message.text for message in received_between(journal.rotate(), lower, upper)]


def lines(*numbers: int) -> list[str]:
    return [f"line {number}" for number in numbers]


def filled(folder: Path, epoch: int, *messages: ChatMessage) -> Journal:
    journal = Journal(folder, epoch)
    journal.adopt(left_behind(folder, epoch))
    add(journal, *messages)
    return journal


def test_what_was_received_is_read_in_order_and_by_time(tmp_path: Path) -> None:
    journal = filled(tmp_path, 1, *(chat(number) for number in range(250)))
    assert texts(journal) == lines(*range(250))
    assert texts(journal, START + 10, START + 20) == lines(*range(10, 20))


def test_a_chunk_is_forgotten_when_nothing_in_it_is_needed(tmp_path: Path) -> None:
    journal = filled(tmp_path, 1, chat(1), chat(5))
    journal.rotate()
    add(journal, chat(9))
    journal.rotate()
    journal.forget(START + 5)
    assert texts(journal) == lines(1, 5, 9)
    journal.forget(START + 6)
    assert texts(journal) == lines(9)
    assert len(chunk_paths(tmp_path)) == 1


def test_a_clock_that_goes_back_takes_no_line_out_of_the_next_file(tmp_path: Path) -> None:
    journal = filled(tmp_path, 1, chat(1))
    journal.rotate(START + 100)
    add(journal, chat(2))
    assert texts(journal, START + 100) == lines(2)


def test_what_waits_for_a_segment_is_bounded_and_the_oldest_goes_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 1)
    journal.limit = 80
    for number in range(200):
        add(journal, chat(number))
    kept = texts(journal)
    assert kept == lines(*range(200 - len(kept), 200))
    assert 70 <= len(kept) <= 80 and journal.lines == len(kept)
    assert journal.dropped == 200 - len(kept)


CHILD = """
import sys
from pathlib import Path
from services.danmu.adapters.journal import Journal
from media.chat.message import ChatMessage, MessageKind, encode_line

START = 1_750_000_000_000
journal = Journal(Path(sys.argv[1]), 1)
for number in range(260):
    message = ChatMessage(MessageKind.CHAT, START + number, uid="1", text=f"line {number}")
    journal.extend([message], [encode_line(message)])
    if number == 249:
        journal.flush()
print("written", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_loses_only_what_came_after_its_last_flush(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdin is not None
    with child, child.stdout, child.stdin:
        assert child.stdout.readline() == "written\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    journal = filled(tmp_path, 2, chat(999))
    assert texts(journal) == lines(*range(250), 999)


def test_a_torn_end_costs_only_the_torn_lines(tmp_path: Path) -> None:
    first = filled(tmp_path, 1)
    for number in range(10):
        add(first, chat(number))
        first.flush()
    first.rotate()
    (path,) = chunk_paths(tmp_path)
    path.write_bytes(path.read_bytes()[:-60])
    assert texts(filled(tmp_path, 2, chat(50))) == lines(*range(9), 50)


def test_a_line_that_two_owners_received_is_there_once(tmp_path: Path) -> None:
    filled(tmp_path, 1, chat(1), chat(2), chat(3, id="x"), chat(4, sent_at=0)).rotate()
    again = [chat(2, START + 900), chat(3, START + 901, id="x", text="other"), chat(4, START + 902, sent_at=0), chat(5)]
    assert texts(filled(tmp_path, 2, *again)) == lines(1, 2, 3, 4, 5)


def test_without_id_and_time_two_alike_are_two_and_those_far_apart_are_others(tmp_path: Path) -> None:
    filled(tmp_path, 1, *(chat(1, START + at, sent_at=0) for at in (0, 10, 20))).rotate()
    copies = [chat(1, START + at, sent_at=0) for at in (5, 15, 25, 35, 20_000)]
    # three that the first owner heard, then one that only the second did, then one that is too late to be a copy
    assert texts(filled(tmp_path, 2, *copies)) == lines(1, 1, 1, 1, 1)


def test_what_an_earlier_owner_heard_just_before_a_cut_is_known_behind_it(tmp_path: Path) -> None:
    filled(tmp_path, 1, chat(1, START + 1000)).rotate()
    journal = filled(tmp_path, 2, chat(1, START + 1020), chat(2, START + 1030))
    journal.adopt(left_behind(tmp_path, 2))
    journal.rotate(START + 1010)
    journal.forget(START + 1010)
    behind = received_between(journal.rotate(), START + 1010, 1 << 62)
    assert [message.text for message in behind] == lines(2)


def test_a_line_that_one_connection_brings_twice_is_there_twice(tmp_path: Path) -> None:
    assert texts(filled(tmp_path, 1, chat(1), chat(1))) == lines(1, 1)
    assert texts(filled(tmp_path, 2, chat(7), chat(7))) == lines(1, 1, 7, 7)


def test_what_was_said_again_long_after_a_hand_over_is_kept(tmp_path: Path) -> None:
    filled(tmp_path, 1, chat(1)).rotate()
    assert texts(filled(tmp_path, 2, chat(1, START + 2 + HAND_OVER_MS))) == lines(1, 1)


def test_an_owner_that_was_replaced_writes_nothing_more(tmp_path: Path) -> None:
    stale = filled(tmp_path, 1, chat(1))
    stale.flush()
    add(stale, chat(2))
    stale.abandon()
    assert texts(filled(tmp_path, 2)) == lines(1)


def test_two_owners_never_write_to_the_same_file(tmp_path: Path) -> None:
    stale, next_one = filled(tmp_path, 1, chat(1)), filled(tmp_path, 2, chat(2))
    stale.rotate()
    next_one.rotate()
    assert [[message.text for message in ChatLogReader(path)] for path in chunk_paths(tmp_path)] == [lines(1), lines(2)]


def test_a_full_disk_costs_memory_within_bounds_and_no_line_while_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = filled(tmp_path, 1, chat(0))
    journal.flush()

    def full(descriptor: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        refused = 0
        for number in range(1, 1001):
            try:
                add(journal, chat(number))
            except OSError:
                refused += 1
        with pytest.raises(OSError):
            journal.flush()
        assert refused == 10
    journal.flush()
    assert texts(journal) == lines(*range(1001)) and journal.dropped == 0


def test_memory_is_bounded_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, 1)
    monkeypatch.setattr("services.danmu.adapters.journal.MAX_UNWRITTEN", 50)
    for number in range(60):
        add(journal, chat(number))
    assert MAX_UNWRITTEN > 50 and journal.dropped == 10
    assert texts(journal) == lines(*range(50))


def test_of_lines_that_came_together_only_those_without_room_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.danmu.adapters.journal.MAX_UNWRITTEN", 50)
    journal = filled(tmp_path, 1, *(chat(number) for number in range(60)))
    assert journal.dropped == 10
    assert texts(journal) == lines(*range(50))

"""``aircheck chat``: exit codes, formats by name, times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aircheck.main import app
from media.chat.head import ChatHead
from media.chat.log import ChatLogWriter, LogHead
from media.chat.message import ChatMessage, MessageKind
from media.chat.timing import Timing
from typer.testing import CliRunner

from services.danmu.adapters.raw import RawWriter

START = 1_750_000_000_000


def log(path: Path, start_ms: int, *offsets: int) -> Path:
    writer = ChatLogWriter(path, LogHead(ChatHead("bilibili", "1", "Ann", "a show"), Timing(start_ms)))
    for offset in offsets:
        writer.append(
            ChatMessage(MessageKind.CHAT, start_ms + offset, user="Bob", text=f"at {start_ms + offset - START}")
        )
    writer.close()
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["chat", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.mark.parametrize("name", ["a.xml", "a.ass", "a.srt", "a.json", "a.csv"])
def test_the_name_of_the_output_decides_the_format(tmp_path: Path, name: str) -> None:
    source = log(tmp_path / "in.jsonl.gz", START, 1500, 2500)

    code, said = run("convert", source, "-o", tmp_path / name)

    assert code == 0 and "2 messages" in said
    text = (tmp_path / name).read_text()
    assert "at 1500" in text and {"a.xml": "<i>", "a.ass": "[Script Info]", "a.srt": "-->"}.get(name, "") in text


def test_options_of_the_drawing_reach_the_file(tmp_path: Path) -> None:
    source = log(tmp_path / "in.jsonl.gz", START, 0)

    code, _ = run(
        "convert", source, "-o", tmp_path / "o.txt", "--to", "ass", "--resolution", "640x360", "--font-size", 20
    )

    text = (tmp_path / "o.txt").read_text()
    assert code == 0 and "PlayResX: 640" in text and ",20,&H33FFFFFF" in text


def test_segments_are_merged_by_the_clock_or_where_they_are_placed(tmp_path: Path) -> None:
    first, second = log(tmp_path / "0.gz", START, 100), log(tmp_path / "1.gz", START + 60_000, 100)

    by_clock = run("merge", second, first, "-o", tmp_path / "c.json")
    placed = run("merge", first, second, "-o", tmp_path / "p.json", "--at", 10, "--at", 5)

    assert (by_clock[0], placed[0]) == (0, 0)
    clock, place = (json.loads((tmp_path / name).read_text()) for name in ("c.json", "p.json"))
    assert [(one["offset_ms"], one["text"]) for one in clock["messages"]] == [(100, "at 100"), (60_100, "at 60100")]
    assert [(one["offset_ms"], one["text"]) for one in place["messages"]] == [(5_100, "at 60100"), (10_100, "at 100")]
    assert clock["start_ms"] == START


def test_a_shift_moves_and_says_what_it_left_out(tmp_path: Path) -> None:
    source = log(tmp_path / "in.jsonl.gz", START, 1000, 3000)

    code, said = run("realign", source, "-o", tmp_path / "o.json", "--shift", "-2")

    moved = json.loads((tmp_path / "o.json").read_text())
    assert code == 0 and "1 messages, 1 before the start left out" in said
    assert [one["offset_ms"] for one in moved["messages"]] == [1000] and moved["start_ms"] == START + 2000


def test_the_repairs_of_a_video_move_its_chat(tmp_path: Path) -> None:
    source = log(tmp_path / "in.jsonl.gz", START, 1000, 3000, 9000)
    gap = {"kind": "gap", "at_ms": 62_000, "source_ms": 0, "amount": 5000, "lost_ms": 5000}
    (tmp_path / "repair.json").write_text(json.dumps({"start_ms": 60_000, "repairs": [gap]}))
    (tmp_path / "list.json").write_text(json.dumps([{**gap, "at_ms": 2000}]))

    for name in ("repair.json", "list.json"):
        code, _ = run("realign", source, "-o", tmp_path / "o.json", "--repair", tmp_path / name, "--shift", 1)

        moved = json.loads((tmp_path / "o.json").read_text())
        assert code == 0 and [one["offset_ms"] for one in moved["messages"]] == [2000, 3000, 5000]
    assert run("realign", source, "-o", tmp_path / "o.json", "--repair", source)[0] == 1


def test_statistics_for_people_and_for_programs(tmp_path: Path) -> None:
    first, second = log(tmp_path / "0.gz", START, *range(0, 9000, 100)), log(tmp_path / "1.gz", START + 60_000, 100)

    code, shown = run("stats", first, second)
    as_json = run("stats", first, second, "--json")

    assert code == 0 and "91 (91 chat)" in shown and "Bob" in shown and "█" in shown
    assert as_json[0] == 0 and json.loads(as_json[1])["talkers"][0]["messages"] == 91


def test_frames_are_parsed_again_onto_the_video_of_a_log(tmp_path: Path) -> None:
    frames = RawWriter(tmp_path / "1.frames.zst", "twitch", 1 << 20)
    for second in (1, 5):
        line = f"@display-name=Ann;id=x{second} :ann!ann@ann.tmi.twitch.tv PRIVMSG #room :at {second}\r\n"
        frames.add(START + second * 1000, 1, 0, line.encode())
    frames.close()
    finished = log(tmp_path / "0.gz", START)

    placed = run("reparse", tmp_path / "1.frames.zst", "--log", finished, "-o", tmp_path / "p.json")
    alone = run("reparse", tmp_path / "1.frames.zst", "-o", tmp_path / "a.json")

    assert (placed[0], alone[0]) == (0, 0)
    offsets = [
        [(one["offset_ms"], one["text"]) for one in json.loads((tmp_path / name).read_text())["messages"]]
        for name in ("p.json", "a.json")
    ]
    assert offsets == [[(1000, "at 1"), (5000, "at 5")], [(0, "at 1"), (4000, "at 5")]]
    assert run("reparse", finished, "-o", tmp_path / "o.json")[0] == 1


def test_failures_have_their_exit_codes(tmp_path: Path) -> None:
    source = log(tmp_path / "in.jsonl.gz", START, 0)
    (tmp_path / "bad").write_text("no chat")

    assert run("convert", tmp_path / "bad", "-o", tmp_path / "o.xml")[0] == 1
    assert run("convert", source, "-o", tmp_path / "no" / "folder.xml")[0] == 1
    assert run("convert", source, "-o", tmp_path / "o.unknown")[0] == 2
    assert run("convert", source, "-o", tmp_path / "o.ass", "--opacity", "7")[0] == 2
    assert run("convert", tmp_path / "missing", "-o", tmp_path / "o.xml")[0] == 2
    assert run("merge", source, "-o", tmp_path / "o.xml")[0] == 2
    assert run("merge", source, source, "-o", tmp_path / "o.xml", "--at", 1)[0] == 2


def test_the_report_of_a_repair_moves_chat_if_the_video_stayed_one_file(tmp_path: Path) -> None:
    source = log(tmp_path / "in.jsonl.gz", START, 10_000, 20_000)
    gap = {
        "kind": "gap",
        "at_ms": 15_000,
        "source_ms": 15_000,
        "amount": 4000,
        "lost_ms": 4000,
        "count": 1,
        "detail": "",
    }
    report = tmp_path / "repair.json"
    report.write_text(json.dumps({"files": [{"start_ms": 0, "repairs": [gap]}]}))

    code, _ = run("realign", source, "-o", tmp_path / "o.srt", "--repair", report)

    cues = (tmp_path / "o.srt").read_text()
    assert code == 0 and "00:00:10,000 -->" in cues and "00:00:16,000 -->" in cues
    report.write_text(json.dumps({"files": [{"start_ms": 0, "repairs": []}] * 2}))
    code, said = run("realign", source, "-o", tmp_path / "o.srt", "--repair", report)
    assert code == 1 and "2 files" in said


def test_a_resolution_is_two_numbers(tmp_path: Path) -> None:
    source = log(tmp_path / "in.jsonl.gz", START, 0)

    code, said = run("convert", source, "-o", tmp_path / "o.ass", "--resolution", "big")

    assert code == 2 and "WIDTHxHEIGHT" in said

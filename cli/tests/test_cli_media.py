"""The media commands on files of every condition, with the exit codes that scripts rely on."""

from __future__ import annotations

import errno
import fcntl
import json
import os

import pytest
from aircheck.main import app
from aircheck.media import DIFFERS, FAILED, FINE
from media.flv.metadata import read_metadata
from media.flv.parser import FlvParser
from media.flv.tag import KEYFRAME, SCRIPT, Tag
from media.repair.alignment import Alignment
from typer.testing import CliRunner

from libs.media.tests import flv_streams as flv

CLEAN = flv.stream(*flv.gops(0, range(20)))


@pytest.fixture
def clip(tmp_path):
    """A file without faults, of 20 groups of 0.4 s."""
    path = tmp_path / "clip.flv"
    path.write_bytes(CLEAN)
    return path


@pytest.fixture
def broken(tmp_path):
    """A file with junk in it, a jump of the clock by an hour, and a torn end."""
    first, second = flv.gops(0, range(10)), flv.gops(3_600_000, range(10, 20))
    path = tmp_path / "broken.flv"
    path.write_bytes(flv.stream(*first) + b"junk" * 5 + b"".join(map(flv.raw, second))[:-9])
    return path


def run(*arguments: object):
    return CliRunner().invoke(app, ["media", *map(str, arguments)])


def test_a_clean_file_is_fine_and_comes_out_with_the_same_media(clip, tmp_path):
    assert run("probe", clip).exit_code == FINE
    result = run("repair", clip, "-o", tmp_path / "out")
    assert result.exit_code == FINE, result.output
    written = (tmp_path / "out" / "clip-000.flv").read_bytes()
    assert flv.media(written) == flv.media(CLEAN)
    report = json.loads((tmp_path / "out" / "repair.json").read_text())
    assert (report["needed_repair"], report["files"][0]["repairs"], report["without_file"]) == (False, [], [])
    # And what came out is not changed by another repair, not by a bit
    assert run("repair", tmp_path / "out" / "clip-000.flv", "-o", tmp_path / "again").exit_code == FINE
    assert (tmp_path / "again" / "clip-000-000.flv").read_bytes() == written


def test_probe_says_what_a_file_holds_and_what_is_wrong_as_json(broken):
    before = broken.read_bytes()
    result = run("probe", broken, "--json")
    assert result.exit_code == DIFFERS
    found = json.loads(result.stdout)
    assert found["tracks"]["video"]["codec"] == "avc"
    assert found["tracks"]["video"]["keyframes"] == 20
    assert found["junk_bytes"] == 20
    assert {repair["kind"] for repair in found["repairs"]} == {"junk", "timestamp_jump", "torn"}
    assert found["duration_ms"] < 10_000
    assert broken.read_bytes() == before


def test_repair_tells_where_everything_went(broken, tmp_path):
    result = run("repair", broken, "-o", tmp_path / "out")
    assert result.exit_code == DIFFERS, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["broken-000.flv", "repair.json"]
    report = json.loads((tmp_path / "out" / "repair.json").read_text())
    (file,) = report["files"]
    content = (tmp_path / "out" / file["name"]).read_bytes()
    assert file["bytes"] == len(content)
    # A moment that the source's clock names is found in the file
    alignment = Alignment.of(file["repairs"], start_ms=file["start_ms"], source_ms=file["source_ms"])
    at = alignment.from_source(3_600_000)
    assert any(tag.kind == KEYFRAME and tag.timestamp == at for tag in flv.media(content))


def test_a_change_of_parameters_begins_another_file(tmp_path):
    path = tmp_path / "two.flv"
    other = flv.avc_header(0, flv.avc_record(flv.OTHER_SPS))
    path.write_bytes(flv.stream(*flv.gops(0, range(5)), other, *flv.gops(2000, range(5, 9))))
    assert run("repair", path, "-o", tmp_path / "out").exit_code == DIFFERS
    report = json.loads((tmp_path / "out" / "repair.json").read_text())
    assert [file["name"] for file in report["files"]] == ["two-000.flv", "two-001.flv"]
    assert report["files"][0]["ended_by"] == "codec_change"


@pytest.mark.parametrize("limit", [["--seconds", "2"], ["--size", "5kB"]])
def test_split_cuts_at_keyframes_and_loses_nothing(clip, tmp_path, limit):
    result = run("split", clip, "-o", tmp_path / "out", *limit)
    assert result.exit_code == FINE, result.output
    files = sorted((tmp_path / "out").glob("*.flv"))
    assert len(files) >= 4
    media = [flv.media(path.read_bytes()) for path in files]
    assert all(tags[0].kind == KEYFRAME for tags in media)
    assert [bytes(t.payload) for tags in media for t in tags] == [bytes(t.payload) for t in flv.media(CLEAN)]


@pytest.mark.parametrize("size", ["0", "ten", "-5MB", "5 XB"])
def test_a_size_that_is_none_is_refused(clip, tmp_path, size):
    assert run("split", clip, "-o", tmp_path, f"--size={size}").exit_code == FAILED


def test_split_without_a_limit_is_refused(clip, tmp_path):
    assert run("split", clip, "-o", tmp_path).exit_code == FAILED


def test_index_makes_any_file_one_that_can_be_sought_and_touches_no_media(clip):
    assert run("index", clip).exit_code == DIFFERS
    content = clip.read_bytes()
    assert flv.media(content) == flv.media(CLEAN)
    fields = read_metadata(flv.scripts(content)[0].payload)
    assert fields["duration"] == flv.media(CLEAN)[-1].timestamp / 1000
    assert fields["filesize"] == len(content)
    for time, position in zip(fields["keyframes"]["times"], fields["keyframes"]["filepositions"], strict=True):
        (tag,) = FlvParser().feed(flv.FILE_HEADER + content[int(position) :])[1:2]
        assert (tag.kind, tag.timestamp) == (KEYFRAME, round(time * 1000))
    # And a second time there is nothing to do
    assert run("index", clip).exit_code == FINE
    assert clip.read_bytes() == content


def test_index_patches_the_file_of_a_killed_recorder_in_place(clip, tmp_path):
    run("repair", clip, "-o", tmp_path / "out")
    left = tmp_path / "out" / "clip-000.flv"
    left.write_bytes(left.read_bytes()[:-2000])
    inode = left.stat().st_ino
    assert run("index", left).exit_code == DIFFERS
    assert left.stat().st_ino == inode
    fields = read_metadata(flv.scripts(left.read_bytes())[0].payload)
    assert fields["duration"] == flv.media(left.read_bytes())[-1].timestamp / 1000
    assert run("probe", left).exit_code == FINE


def test_index_keeps_the_fields_of_the_source_and_everything_else(tmp_path):
    path = tmp_path / "made.flv"
    path.write_bytes(flv.ffmpeg_flv())
    tags = [item for item in flv.parse(path.read_bytes()) if isinstance(item, Tag)]
    assert run("index", path).exit_code == DIFFERS
    after = [item for item in flv.parse(path.read_bytes()) if isinstance(item, Tag)]
    assert after[1:] == tags[1:]
    assert after[0].type == SCRIPT
    assert read_metadata(after[0].payload)["width"] == 160


def test_an_index_that_was_interrupted_leaves_the_file_as_it_was(clip, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    assert run("index", clip).exit_code == FAILED
    assert clip.read_bytes() == CLEAN
    assert [path.name for path in clip.parent.iterdir()] == [clip.name]


def test_the_file_of_a_running_recording_is_left_alone(clip):
    clip.write_bytes(CLEAN[:-5])
    with clip.open("r+b") as recorder:
        fcntl.flock(recorder.fileno(), fcntl.LOCK_EX)
        result = run("index", clip)
    assert (result.exit_code, clip.read_bytes()) == (FAILED, CLEAN[:-5])
    assert "is being recorded" in result.output


def test_an_earlier_run_is_replaced_only_on_demand(clip, tmp_path):
    out = tmp_path / "out"
    run("split", clip, "-o", out, "--seconds", "2")
    many = len(list(out.glob("*.flv")))
    assert run("repair", clip, "-o", out).exit_code == FAILED
    assert len(list(out.glob("*.flv"))) == many
    assert run("repair", clip, "-o", out, "--force").exit_code == FINE
    assert [path.name for path in out.glob("*.flv")] == ["clip-000.flv"]


@pytest.mark.parametrize("command", ["probe", "repair", "split", "index"])
@pytest.mark.parametrize("content", [b"#EXTM3U\n" * 50, bytes(2 << 20), b"", None])
def test_what_is_no_flv_file_is_refused_in_one_line(tmp_path, command, content):
    path = tmp_path / "other.flv"
    if content is not None:
        path.write_bytes(content)
    options = {"repair": ["-o", tmp_path / "out"], "split": ["-o", tmp_path / "out", "--seconds", "3"]}
    result = run(command, path, *options.get(command, []))
    assert result.exit_code == FAILED
    assert "Traceback" not in result.output
    if content is not None:
        assert path.read_bytes() == content
        assert not list(tmp_path.glob("out/*.flv*"))


def test_a_file_without_media_is_nothing_that_could_be_fine(tmp_path):
    # given what a recorder leaves that was killed before any media came
    path = tmp_path / "torn.flv"
    path.write_bytes(flv.FILE_HEADER)
    # then scripts are told the same by each command
    result = run("probe", path, "--json")
    assert result.exit_code == FAILED
    assert "no media" in result.output
    assert run("repair", path, "-o", tmp_path / "out").exit_code == FAILED


def test_a_disk_that_fills_up_leaves_no_half_file(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "media.flv.segment_file.SegmentFile._patch",
        lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")),
    )
    assert run("repair", clip, "-o", tmp_path / "out").exit_code == FAILED
    assert list((tmp_path / "out").iterdir()) == []

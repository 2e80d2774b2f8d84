"""Remux and thumbnail on real files, judged by another demuxer."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
import psutil
import pytest
from contracts.values import Artifact, Step

from services.pipeline.adapters.failure import ProcessingInterrupted, ProcessingRefused
from services.pipeline.adapters.ffmpeg import Ffmpeg, locate
from services.pipeline.adapters.processor import Task
from services.pipeline.adapters.remux import Remux
from services.pipeline.adapters.thumbnail import Thumbnail
from services.pipeline.domain.destinations import Context
from services.pipeline.tests.conftest import SECONDS, Crash, MemoryReceipts, artifact_of, encode

CHAT = Artifact(uri="file:///nowhere/x.xml", media_type="application/xml", size=3)


def task(processor, *inputs, **options):
    return Task(Step(id="x", processor=processor, options=options), inputs, Context("s1"))


def path_of(artifact):
    return Path(unquote(urlsplit(artifact.uri).path))


def left_in(artifact):
    return sorted(path.name for path in path_of(artifact).parent.iterdir())


def top_boxes(path):
    data, at, names = path.read_bytes(), 0, []
    while at < len(data):
        names.append(data[at + 4 : at + 8].decode())
        at += int.from_bytes(data[at : at + 4], "big")
    return names


async def test_remux_keeps_every_packet_and_puts_the_index_first(ffmpeg, recording, make_workspace):
    workspace = make_workspace()
    result = await Remux(ffmpeg).run(task("remux", recording), workspace)
    await workspace.close()
    (made,) = result.outputs
    assert made == artifact_of(path_of(made)) and made.media_type == "video/mp4" and made.uri.endswith("%231.mp4")
    assert left_in(made) == ["03-04-05 it's 100% #1.flv", "03-04-05 it's 100% #1.mp4"]
    boxes = top_boxes(path_of(made))
    assert boxes.index("moov") < boxes.index("mdat")
    with av.open(path_of(recording)) as before, av.open(path_of(made)) as after:
        assert [stream.codec_context.name for stream in after.streams] == ["h264", "aac"]
        assert abs(after.duration / av.time_base - SECONDS) < 0.2
        frames = [[packet.size for packet in one.demux(video=0) if packet.size] for one in (before, after)]
        assert len(frames[1]) == SECONDS * 10 and len(frames[0]) == len(frames[1])
        after.seek(0)
        assert sum(1 for _ in after.decode(video=0)) == SECONDS * 10
    assert not workspace.folder.exists() and workspace.reported[-1] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("suffix", ["ts", "mkv"])
async def test_remux_takes_other_containers(ffmpeg, tmp_path, make_workspace, suffix):
    source = artifact_of(encode(tmp_path / f"x.{suffix}"))
    (made,) = (await Remux(ffmpeg).run(task("remux", source), make_workspace())).outputs
    with av.open(path_of(made)) as after:
        assert after.format.name.startswith("mov") and abs(after.duration / av.time_base - SECONDS) < 0.3


async def test_hevc_gets_the_tag_that_players_know(ffmpeg, tmp_path, make_workspace):
    params = ["-c:v", "libx265", "-x265-params", "pools=1:log-level=error"]
    source = artifact_of(encode(tmp_path / "x.ts", *params, seconds=1))
    (made,) = (await Remux(ffmpeg).run(task("remux", source), make_workspace())).outputs
    with av.open(path_of(made)) as after:
        assert after.streams.video[0].codec_context.codec_tag == "hvc1"


async def test_remux_hands_on_what_it_cannot_use(ffmpeg, tmp_path, recording, make_workspace):
    already = artifact_of(encode(tmp_path / "x.mp4", seconds=1))
    result = await Remux(ffmpeg).run(task("remux", CHAT, already, recording), make_workspace())
    assert result.outputs[:2] == (CHAT, already) and result.outputs[2].uri.endswith(".mp4")


async def test_the_original_is_removed_only_when_asked(ffmpeg, recording, make_workspace):
    result = await Remux(ffmpeg).run(task("remux", recording, format="mkv", remove_input=True), make_workspace())
    assert result.removed == (recording.uri,) and not path_of(recording).exists()
    with av.open(path_of(result.outputs[0])) as after:
        assert "matroska" in after.format.name


async def test_another_file_of_that_name_is_left_alone(ffmpeg, recording, make_workspace):
    theirs = path_of(recording).with_suffix(".mp4")
    theirs.write_bytes(b"a film of somebody else")
    (made,) = (await Remux(ffmpeg).run(task("remux", recording), make_workspace())).outputs
    assert theirs.read_bytes() == b"a film of somebody else"
    assert path_of(made).name == "03-04-05 it's 100% #1.2.mp4"


async def test_outputs_go_to_the_storage_when_there_is_one(ffmpeg, recording, tmp_path, make_workspace):
    storage = (tmp_path / "store").as_uri()
    (made,) = (await Remux(ffmpeg).run(task("remux", recording), make_workspace(storage_uri=storage))).outputs
    assert made.uri == f"{storage}/s1/03-04-05%20it%27s%20100%25%20%231.mp4" and made == artifact_of(path_of(made))
    assert left_in(recording) == [path_of(recording).name]


@pytest.mark.parametrize("name", ["x.flv", "x.ts", "x.mp4.mkv"])
async def test_what_is_no_media_is_refused_with_the_reason(ffmpeg, tmp_path, make_workspace, name):
    (tmp_path / name).write_bytes(b"not a video at all " * 100)
    workspace = make_workspace()
    with pytest.raises(ProcessingRefused, match="no media"):
        await Remux(ffmpeg).run(task("remux", artifact_of(tmp_path / name)), workspace)
    await workspace.close()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [name]


@pytest.mark.parametrize(
    "content",
    [
        "ffconcat version 1.0\nfile 'secret.ts'\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n",
    ],
)
async def test_a_list_that_names_other_files_is_not_opened(ffmpeg, tmp_path, make_workspace, content):
    encode(tmp_path / "secret.ts", seconds=1)
    (tmp_path / "x.ts").write_text(content)
    with pytest.raises(ProcessingRefused, match="no media"):
        await Remux(ffmpeg).run(task("remux", artifact_of(tmp_path / "x.ts")), make_workspace())


async def test_a_missing_input_may_come_back(ffmpeg, recording, make_workspace):
    path_of(recording).unlink()
    with pytest.raises(FileNotFoundError):
        await Remux(ffmpeg).run(task("remux", recording), make_workspace())


class Shortened(Ffmpeg):
    """Gives up early and says that all is well, as ffmpeg does in the middle of a damaged file."""

    async def convert(self, source, target, *, options, **rest):
        return await super().convert(source, target, options=[*options[:-2], *options[-2:], "-t", "0.5"], **rest)


async def test_a_result_that_is_too_short_is_refused(tmp_path, make_workspace):
    source = artifact_of(encode(tmp_path / "x.flv", seconds=6))
    workspace = make_workspace()
    with pytest.raises(ProcessingRefused, match=r"the original 6\.\d s"):
        await Remux(Shortened(locate(""))).run(task("remux", source), workspace)
    await workspace.close()
    assert left_in(source) == ["work", "x.flv"]


async def test_a_turn_that_died_before_publishing_is_made_again_without_leftovers(ffmpeg, recording, make_workspace):
    receipts = MemoryReceipts(crash_after=1)
    with pytest.raises(Crash):
        await Remux(ffmpeg).run(task("remux", recording), make_workspace(receipts))
    assert any(name.endswith(".part") for name in left_in(recording))
    workspace = make_workspace(MemoryReceipts(receipts.saved), epoch=2)
    (made,) = (await Remux(ffmpeg).run(task("remux", recording), workspace)).outputs
    assert left_in(recording) == [path_of(recording).name, path_of(made).name]


async def test_what_an_earlier_turn_published_is_not_made_again(ffmpeg, recording, make_workspace):
    receipts = MemoryReceipts()
    (made,) = (await Remux(ffmpeg).run(task("remux", recording), make_workspace(receipts))).outputs
    inode = path_of(made).stat().st_ino
    path_of(recording).unlink()  # the second turn could not even make it
    again = await Remux(ffmpeg).run(task("remux", recording), make_workspace(MemoryReceipts(receipts.saved), epoch=2))
    assert again.outputs == (made,) and path_of(made).stat().st_ino == inode


async def test_a_published_file_that_was_damaged_is_made_again_beside_it(ffmpeg, recording, make_workspace):
    receipts = MemoryReceipts()
    (made,) = (await Remux(ffmpeg).run(task("remux", recording), make_workspace(receipts))).outputs
    content = bytearray(path_of(made).read_bytes())
    content[-1] ^= 1
    path_of(made).write_bytes(content)
    again = await Remux(ffmpeg).run(task("remux", recording), make_workspace(MemoryReceipts(receipts.saved), epoch=2))
    assert again.outputs[0].uri != made.uri and again.outputs[0].sha256 == made.sha256


async def test_cancelling_kills_ffmpeg_and_leaves_no_half_file(tmp_path, recording, make_workspace):
    started = tmp_path / "started"
    os.mkfifo(started)
    slow = tmp_path / "slow-ffmpeg"
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *genpts*) echo $$ > {started}; exec sleep 600;; esac\nexec {locate("")} "$@"\n'
    )
    slow.chmod(0o755)
    workspace = make_workspace()
    running = asyncio.create_task(Remux(Ffmpeg(str(slow))).run(task("remux", recording), workspace))
    program = psutil.Process(int(await asyncio.to_thread(started.read_text)))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await workspace.close()
    assert not program.is_running()
    assert left_in(recording) == [path_of(recording).name]


async def test_a_killed_ffmpeg_is_worth_another_attempt(tmp_path, recording, make_workspace):
    dying = tmp_path / "dying-ffmpeg"
    dying.write_text(f'#!/bin/sh\ncase "$*" in *genpts*) kill -9 $$;; esac\nexec {locate("")} "$@"\n')
    dying.chmod(0o755)
    with pytest.raises(ProcessingInterrupted, match="signal 9"):
        await Remux(Ffmpeg(str(dying))).run(task("remux", recording), make_workspace())


def test_a_configured_ffmpeg_that_is_none_is_noticed_at_once():
    with pytest.raises(RuntimeError, match="PIPELINE_FFMPEG"):
        locate("/nonexistent/ffmpeg")


@pytest.mark.parametrize("at_s", [1.0, 0.0, 999.0])
async def test_a_thumbnail_has_the_width_and_also_of_a_short_video(ffmpeg, recording, make_workspace, at_s):
    workspace = make_workspace()
    result = await Thumbnail(ffmpeg).run(task("thumbnail", recording, CHAT, width=64, at_s=at_s), workspace)
    await workspace.close()
    kept, picture, chat = result.outputs
    assert (kept, chat) == (recording, CHAT) and picture.media_type == "image/jpeg"
    assert picture == artifact_of(path_of(picture)) and path_of(picture).name == "03-04-05 it's 100% #1.jpg"
    with av.open(path_of(picture)) as image:
        frame = next(image.decode(video=0))
        assert (frame.width, frame.height) == (64, 36)


async def test_thumbnails_of_different_times_differ(ffmpeg, recording, make_workspace):
    taken = set()
    for at_s in (0, 2):
        workspace = make_workspace(job_id=f"job{at_s}")
        taken.add((await Thumbnail(ffmpeg).run(task("thumbnail", recording, at_s=at_s), workspace)).outputs[1].sha256)
    assert len(taken) == 2


async def test_a_video_without_a_picture_has_no_thumbnail(ffmpeg, tmp_path, make_workspace):
    source = artifact_of(encode(tmp_path / "x.flv", "-vn", seconds=1))
    result = await Thumbnail(ffmpeg).run(task("thumbnail", source), make_workspace())
    assert result.outputs == (source,)


@pytest.mark.parametrize(
    ("processor", "options"),
    [
        ("remux", {"format": "avi"}),
        ("remux", {"fromat": "mp4"}),
        ("thumbnail", {"width": 0}),
        ("thumbnail", {"quality": 1}),
    ],
)
def test_wrong_options_are_named(ffmpeg, processor, options):
    made = Remux(ffmpeg) if processor == "remux" else Thumbnail(ffmpeg)
    with pytest.raises(ProcessingRefused, match=next(iter(options))):
        made.check(options)

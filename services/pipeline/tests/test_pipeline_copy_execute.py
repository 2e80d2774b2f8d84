"""Copies are verified and stay in the archive; programs are those that are allowed, and get their arguments as they are."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from chassis.storage import LocalStorage, Storage, UnsafePath
from contracts.values import Artifact, Step

from services.pipeline.adapters.copy import Copy
from services.pipeline.adapters.execute import Execute
from services.pipeline.adapters.failure import ProcessingInterrupted, ProcessingRefused
from services.pipeline.adapters.files import Files, StorageOptions
from services.pipeline.adapters.processor import Processors, Result, Task
from services.pipeline.domain.destinations import Context
from services.pipeline.tests.conftest import Crash, MemoryReceipts, artifact_of
from tests.deadline import DEADLINE_S

CONTEXT = Context("s1", streamer="Ada", title="../--evil; rm -rf", date="2026-01-02")


def task(processor, *inputs, context=CONTEXT, **options):
    return Task(Step(id="x", processor=processor, options=options), inputs, context)


def path_of(artifact):
    return Path(unquote(urlsplit(artifact.uri).path))


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "archive"


@pytest.fixture
def copy(archive):
    return Copy(Storage.from_uri(archive.as_uri()))


@pytest.fixture
def source(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(os.urandom(300_000))
    return artifact_of(tmp_path / "in" / "a.mp4")


async def test_a_copy_lies_in_the_archive_and_the_original_stays(copy, source, archive, make_workspace):
    workspace = make_workspace()
    result = await copy.run(task("copy", source), workspace)
    await workspace.close()
    assert files_below(archive) == ["Ada/s1/a.mp4"] and path_of(source).exists() and result.removed == ()
    assert result.outputs == (artifact_of(archive / "Ada/s1/a.mp4"),)
    assert path_of(source).stat().st_ino != path_of(result.outputs[0]).stat().st_ino


async def test_a_move_takes_the_original_away_and_says_so(copy, source, archive, make_workspace):
    result = await copy.run(task("copy", source, operation="move", to="{date}"), make_workspace())
    assert files_below(archive) == ["2026-01-02/a.mp4"] and not path_of(source).exists()
    assert result.removed == (source.uri,) and result.outputs[0].sha256 == source.sha256


async def test_a_move_that_died_after_removing_the_original_is_complete(copy, source, make_workspace):
    receipts = MemoryReceipts()
    first = await copy.run(task("copy", source, operation="move"), make_workspace(receipts))
    again = await copy.run(
        task("copy", source, operation="move"), make_workspace(MemoryReceipts(receipts.saved), epoch=2)
    )
    assert again == first


async def test_a_move_that_died_before_publishing_loses_nothing(copy, source, archive, make_workspace):
    receipts = MemoryReceipts(crash_after=1)
    with pytest.raises(Crash):
        await copy.run(task("copy", source, operation="move"), make_workspace(receipts))
    assert path_of(source).exists()
    workspace = make_workspace(MemoryReceipts(receipts.saved), epoch=2)
    await copy.run(task("copy", source, operation="move"), workspace)
    await workspace.close()
    assert files_below(archive) == ["Ada/s1/a.mp4"]


async def test_a_move_that_fails_in_the_middle_leaves_every_original(copy, source, make_workspace):
    gone = source.model_copy(update={"uri": source.uri.replace("a.mp4", "gone.mp4")})
    with pytest.raises(FileNotFoundError):
        await copy.run(task("copy", source, gone, operation="move"), make_workspace())
    assert path_of(source).exists()


async def test_a_move_to_where_the_file_is_keeps_it(source, tmp_path, make_workspace):
    in_place = Copy(Storage.from_uri(tmp_path.as_uri()))
    result = await in_place.run(task("copy", source, operation="move", to="in"), make_workspace())
    assert result == Result((source,)) and path_of(source).exists()


async def test_a_title_makes_no_folder_and_climbs_nowhere(copy, source, archive, make_workspace):
    await copy.run(task("copy", source, to="{title}/{session_id}"), make_workspace())
    assert files_below(archive) == ["_--evil; rm -rf/s1/a.mp4"]


@pytest.mark.parametrize("to", ["../x", "/etc", "a/../../b", ".."])
async def test_a_folder_that_climbs_stays_in_the_archive(copy, source, archive, tmp_path, make_workspace, to):
    await copy.run(task("copy", source, to=to), make_workspace())
    assert len(files_below(archive)) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"in", "archive", "work"}


async def test_a_link_that_leads_out_of_the_archive_is_not_followed(copy, source, archive, tmp_path, make_workspace):
    (tmp_path / "outside").mkdir()
    archive.mkdir()
    (archive / "Ada").symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafePath):
        await copy.run(task("copy", source), make_workspace())
    assert files_below(tmp_path / "outside") == []


async def test_another_file_of_that_name_is_left_alone_but_the_same_content_is_the_same_file(
    copy, source, archive, make_workspace
):
    (archive / "Ada" / "s1").mkdir(parents=True)
    (archive / "Ada" / "s1" / "a.mp4").write_bytes(b"theirs")
    for epoch in (1, 2):
        await copy.run(task("copy", source), make_workspace(epoch=epoch))
    assert files_below(archive) == ["Ada/s1/a.2.mp4", "Ada/s1/a.mp4"]
    assert (archive / "Ada/s1/a.mp4").read_bytes() == b"theirs"


async def test_a_source_that_is_not_what_was_recorded_is_refused(copy, source, archive, make_workspace):
    path_of(source).write_bytes(b"changed")
    workspace = make_workspace()
    with pytest.raises(ProcessingRefused, match="checksum has changed"):
        await copy.run(task("copy", source), workspace)
    await workspace.close()
    assert files_below(archive) == []


class Rotten(LocalStorage):
    """Keeps something else than it was given."""

    async def read(self, key, start=0, end=None, *, chunk=1 << 20):
        async for piece in super().read(key, start, end, chunk=chunk):
            yield piece[:-1] + bytes([piece[-1] ^ 1])


async def test_a_copy_that_does_not_read_back_is_made_again(source, archive, make_workspace, monkeypatch):
    rotten = Rotten(archive)
    workspace = make_workspace()
    opened = workspace.files.open
    monkeypatch.setattr(
        workspace.files, "open", lambda uri: (rotten, rotten.key(uri)) if "archive" in uri else opened(uri)
    )
    with pytest.raises(ProcessingInterrupted, match="read back"):
        await Copy(Storage.from_uri(archive.as_uri())).run(task("copy", source, operation="move"), workspace)
    assert files_below(archive) == [] and path_of(source).exists()


async def test_without_an_archive_nothing_is_copied(source, make_workspace):
    with pytest.raises(ProcessingRefused, match="PIPELINE_COPY_ROOT"):
        await Copy(None).run(task("copy", source), make_workspace())
    with pytest.raises(ProcessingRefused, match="no processor"):
        Processors({}).check(Step(id="x", processor="copy"))


def test_only_files_below_a_root_are_permitted_links_followed(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("/etc")
    files = Files(StorageOptions(), roots=(root.as_uri(),))
    assert files.permitted((root / "x.flv").as_uri())
    for uri in ("file:///etc/passwd", f"{root.as_uri()}/../x", f"{root.as_uri()}/link/passwd", "s3://b/x", "", "x"):
        assert not files.permitted(uri), uri


# --- execute -----------------------------------------------------------------------------------------------------------

TELL = """
import json, os, sys
out = sys.argv[-1]
with open(os.path.join(out, "told.json"), "w") as file:
    json.dump({"argv": sys.argv[1:], "environ": dict(os.environ), "cwd": os.getcwd(), "nice": os.nice(0)}, file)
"""


@pytest.fixture
def program(tmp_path):
    """Make a program from Python source; returns its path."""

    def make(source, name="program"):
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\n{source}")
        path.chmod(0o755)
        return str(path)

    return make


def execute_task(source, program, **options):
    return task("execute", source, program=program, **options)


async def test_a_program_gets_whole_arguments_and_a_clean_environment(program, source, make_workspace, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("PIPELINE_DATABASE_DSN", "hush")
    tell = program(TELL)
    workspace = make_workspace()
    arguments = ["-v", "$(id); *", "{session_id}", "{title}", "{input}", "{output_dir}"]
    context = Context("s1", title="--output=/etc/passwd\x00\n; rm")
    run = Execute([tell], niceness=os.nice(0) + 3).run(
        task("execute", source, context=context, program=tell, arguments=arguments), workspace
    )
    result = await run
    told = json.loads(path_of(result.outputs[0]).read_text())
    out = str(workspace.folder / "out")
    assert told["argv"] == ["-v", "$(id); *", "s1", "output=/etc/passwd; rm", str(path_of(source)), out]
    assert "hush" not in str(told["environ"]) and told["environ"]["HOME"] == told["cwd"] == out
    assert told["nice"] >= 3


async def test_the_files_it_leaves_are_published_beside_its_input(program, source, make_workspace, tmp_path):
    make = program(
        "import os, sys\nout = sys.argv[2]\nos.mkdir(out + '/deep')\nopen(out + '/b.srt', 'w').write('b')\n"
        "open(out + '/deep/a.txt', 'w').write('a')\nos.symlink('/etc/passwd', out + '/link.txt')"
    )
    workspace = make_workspace()
    result = await Execute([make]).run(execute_task(source, make), workspace)
    await workspace.close()
    assert [path_of(made).name for made in result.outputs] == ["b.srt", "a.txt"]
    assert all(made == artifact_of(path_of(made)) for made in result.outputs)
    assert files_below(tmp_path / "in") == ["a.mp4", "a.txt", "b.srt"]


async def test_all_inputs_are_given_at_once_and_others_are_handed_on(program, source, tmp_path, make_workspace):
    other = Artifact(uri="file:///nowhere/x.xml", media_type="application/xml", size=1)
    (tmp_path / "in" / "b.mp4").write_bytes(b"b")
    second = artifact_of(tmp_path / "in" / "b.mp4")
    tell = program(TELL)
    processor = Execute([tell])
    made = await processor.run(
        task("execute", source, other, second, program=tell, extensions=[".mp4"]), make_workspace()
    )
    argv = json.loads(path_of(made.outputs[0]).read_text())["argv"]
    assert argv[:2] == [str(path_of(source)), str(path_of(second))] and made.outputs[1:] == (other,)
    nothing = await processor.run(task("execute", other, program=tell, extensions=[".mp4"]), make_workspace(epoch=2))
    assert nothing.outputs == (other,)


async def test_a_program_that_leaves_nothing_hands_its_inputs_on(program, source, make_workspace):
    quiet = program("")
    assert (await Execute([quiet]).run(execute_task(source, quiet), make_workspace())).outputs == (source,)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"program": "/bin/sh"}, "PIPELINE_ALLOW_EXECUTE"),
        ({"arguments": ["--in={input}"]}, "whole argument"),
        ({"arguments": ["{secret}"]}, "unknown placeholder"),
        ({"arguments": ["a\0b"]}, "arguments"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"shell": True}, "shell"),
    ],
)
def test_what_may_not_be_executed_is_refused_before_it_is(program, options, says):
    allowed = program("")
    with pytest.raises(ProcessingRefused, match=says):
        Execute([allowed]).check({"program": allowed, **options})


async def test_its_failure_is_told_in_its_own_words(program, source, make_workspace):
    failing = program("import sys\nsys.stderr.write('x' * 100000 + 'no such codec')\nsys.exit(3)")
    with pytest.raises(ProcessingRefused, match=r"failed with 3: x+no such codec") as failed:
        await Execute([failing]).run(execute_task(source, failing), make_workspace())
    assert len(str(failed.value)) < 5000


async def test_a_program_that_is_killed_is_worth_another_attempt(program, source, make_workspace):
    dying = program("import os\nos.kill(os.getpid(), 9)")
    with pytest.raises(ProcessingInterrupted, match="signal 9"):
        await Execute([dying]).run(execute_task(source, dying), make_workspace())


async def test_a_program_that_is_gone_is_refused(source, tmp_path, make_workspace):
    gone = str(tmp_path / "gone")
    with pytest.raises(ProcessingRefused, match="cannot be started"):
        await Execute([gone]).run(execute_task(source, gone), make_workspace())


FAMILY = """
import subprocess, sys, os
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open({fifo!r}, "w") as fifo:
    fifo.write(f"{{os.getpid()}} {{child.pid}}")
child.wait()
"""


class Handles:
    """Processes that run now. Their numbers may be others' soon after they ended, so each is held by a handle."""

    def __init__(self, pids):
        self.open = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                self.open.append(os.pidfd_open(pid))

    async def all_gone(self):
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DEADLINE_S):
            while self.open:
                ended, handle = asyncio.Event(), self.open.pop()
                loop.add_reader(handle, ended.set)
                try:
                    await ended.wait()
                finally:
                    loop.remove_reader(handle)
                    os.close(handle)


async def test_cancelling_ends_a_program_and_its_children(program, source, tmp_path, make_workspace):
    os.mkfifo(tmp_path / "pids")
    family = program(FAMILY.format(fifo=str(tmp_path / "pids")))
    running = asyncio.create_task(Execute([family]).run(execute_task(source, family), make_workspace()))
    both = Handles(map(int, (await asyncio.to_thread((tmp_path / "pids").read_text)).split()))
    assert len(both.open) == 2
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await both.all_gone()


async def test_a_child_that_stays_behind_ends_with_its_program(program, source, tmp_path, make_workspace):
    os.mkfifo(tmp_path / "pids")
    parent = program(FAMILY.replace("child.wait()", "").format(fifo=str(tmp_path / "pids")))
    running = asyncio.create_task(Execute([parent]).run(execute_task(source, parent), make_workspace()))
    both = Handles(map(int, (await asyncio.to_thread((tmp_path / "pids").read_text)).split()))
    async with asyncio.timeout(DEADLINE_S):
        assert (await running).outputs == (source,)
    await both.all_gone()


async def test_a_program_that_takes_too_long_is_refused(program, source, make_workspace):
    slow = program("import time\ntime.sleep(600)")
    with pytest.raises(ProcessingRefused, match="longer than"):
        await Execute([slow]).run(execute_task(source, slow, timeout_s=0.2), make_workspace())

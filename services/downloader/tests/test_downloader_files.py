import errno
import fcntl
import hashlib
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest
from chassis.storage import LocalStorage, StorageOptions
from contracts.downloader import RecordingRequested
from contracts.values import Artifact, Effective

from services.downloader.adapters import recovery
from services.downloader.adapters.engine import SegmentCompleted
from services.downloader.adapters.files import PARTS, Folder, Session
from services.downloader.domain import OpenSegment
from services.downloader.facts import Facts

AT = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
NAME = PurePosixPath("Ann/show 000.flv")


@pytest.fixture
def folder(tmp_path):
    return Folder(LocalStorage(tmp_path), tmp_path / PARTS, hash_max_bytes=100)


def facts(template="{streamer}/{title} {index:03}"):
    return Facts(
        RecordingRequested(
            recording_id="r",
            session_id="s",
            streamer_id="a",
            streamer_name="Ann",
            url="http://x/1",
            platform="p",
            title="show",
            effective=Effective.model_construct(**{**Effective().model_dump(), "file_template": template}),
            first_index=0,
        )
    )


def tell(artifact: Artifact):
    opened = OpenSegment(0, 1, "w", 0, AT.isoformat())
    return facts().completed(SegmentCompleted(0, 0, 5, 1000, "end"), opened, artifact)


def written(folder, data=b"media", index=0, epoch=1):
    with folder.open("r", epoch, index, "flv") as file:
        file.write(data)
        return file.part


async def test_a_finished_part_gets_its_name_size_and_hash(folder, tmp_path):
    part = written(folder)
    event = await folder.finish(part, NAME, tell)
    assert (tmp_path / "Ann/show 000.flv").read_bytes() == b"media"
    assert event.artifact.uri == (tmp_path / "Ann/show 000.flv").as_uri()
    assert (event.artifact.size, event.artifact.media_type) == (5, "video/x-flv")
    assert event.artifact.sha256 == hashlib.sha256(b"media").hexdigest()


async def test_a_large_file_goes_without_a_hash(folder):
    event = await folder.finish(written(folder, b"x" * 101), NAME, tell)
    assert event.artifact.sha256 == ""


async def test_no_file_is_ever_overwritten(folder, tmp_path):
    first = await folder.finish(written(folder, b"first", 0), NAME, tell)
    second = await folder.finish(written(folder, b"second", 1), NAME, tell)
    third = await folder.finish(written(folder, b"third", 2), NAME, tell)
    assert [folder.storage.key(one.artifact.uri) for one in (first, second, third)] == [
        "Ann/show 000.flv",
        "Ann/show 000 (2).flv",
        "Ann/show 000 (3).flv",
    ]
    assert (tmp_path / "Ann/show 000.flv").read_bytes() == b"first"
    assert (tmp_path / "Ann/show 000 (2).flv").read_bytes() == b"second"


async def test_finishing_works_where_the_file_system_has_no_links(folder, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    part = written(folder)
    await folder.finish(part, NAME, tell)
    await folder.finish(written(folder, b"other", 1), NAME, tell)
    assert (tmp_path / "Ann/show 000.flv").read_bytes() == b"media"
    assert (tmp_path / "Ann/show 000 (2).flv").read_bytes() == b"other"
    assert not part.path.exists()


async def test_a_note_tells_of_a_file_that_was_named_before_the_crash(folder):
    part = written(folder)
    event = await folder.finish(part, NAME, tell)
    # given a process that died before the event was in the log
    (left,) = folder.parts("r")
    assert await folder.finished(left) == event
    folder.remove(left)
    assert folder.parts("r") == []


async def test_a_note_of_a_file_that_never_got_its_name_is_not_believed(folder, monkeypatch):
    part = written(folder)

    def crash(*_):
        raise OSError(errno.EIO, "the process died here")

    monkeypatch.setattr(os, "link", crash)
    with pytest.raises(OSError, match="died here"):
        await folder.finish(part, NAME, tell)
    assert part.note.exists()
    assert await folder.finished(part) is None
    assert part.path.read_bytes() == b"media"


async def test_a_crash_between_link_and_unlink_leaves_one_file(folder, tmp_path):
    part = written(folder)
    event = await folder.finish(part, NAME, tell)
    os.link(tmp_path / "Ann/show 000.flv", part.path)
    assert await folder.finished(part) == event
    assert not part.path.exists()
    assert (tmp_path / "Ann/show 000.flv").read_bytes() == b"media"


async def test_a_foreign_file_of_the_same_name_and_size_is_not_taken_for_ours(folder, tmp_path, monkeypatch):
    part = written(folder)
    await folder.finish(part, NAME, tell)
    (tmp_path / "Ann/show 000.flv").rename(part.path)
    (tmp_path / "Ann/show 000.flv").write_bytes(b"alien")
    assert await folder.finished(part) is None


def test_parts_say_whose_they_are(folder):
    written(folder, index=2, epoch=3)
    written(folder, index=1, epoch=9)
    (folder._home("r") / "000001-e1.flv.part").write_bytes(b"no part of ours")
    (folder._home("r") / "notes.txt").write_bytes(b"")
    assert [(part.index, part.epoch, part.extension) for part in folder.parts("r")] == [(1, 9, "flv"), (2, 3, "flv")]
    assert folder.recordings() == ["r"]
    assert abs(folder.parts("r")[0].created_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_an_id_cannot_lead_out_of_the_folder(folder):
    with pytest.raises(ValueError, match="no id"):
        folder.open("../r", 1, 0, "flv")


def test_what_is_being_written_cannot_be_claimed(folder):
    with folder.open("r", 1, 0, "flv") as file, pytest.raises(recovery.InUse), recovery.claim(file.part):
        pass
    with recovery.claim(file.part):
        pass


def test_a_part_that_was_finished_meanwhile_is_no_part(folder, tmp_path, monkeypatch):
    part = written(folder)
    real = fcntl.flock

    def finished_by_somebody(descriptor, operation):
        real(descriptor, operation)
        part.path.rename(tmp_path / "final.flv")
        part.path.write_bytes(b"another one")

    monkeypatch.setattr(fcntl, "flock", finished_by_somebody)
    with pytest.raises(FileNotFoundError), recovery.claim(part):
        pass


def test_cursors_count_for_the_epoch_that_wrote_them(folder):
    session = Session(folder, "r", 4)
    session.open(0, "ts").close()
    session.keep_cursor({"sequence": 9})
    assert folder.cursor("r", 4) == {"sequence": 9}
    assert folder.cursor("r", 3) is None
    (folder._home("r") / "cursor.json").write_text('{"epoch": 4, "cur')
    assert folder.cursor("r", 4) is None


def test_an_empty_folder_is_cleaned_up_and_a_full_one_is_not(folder, tmp_path):
    part = written(folder)
    folder.close_recording("r")
    assert part.path.exists()
    folder.remove(part)
    folder.close_recording("r")
    assert list(tmp_path.iterdir()) == []


def test_parts_lie_beside_local_files_and_in_the_data_folder_before_an_upload(tmp_path):
    local = Folder.at("", tmp_path, StorageOptions(), hash_max_bytes=0)
    assert not local.remote
    assert written(local).path.is_relative_to(tmp_path / "recordings" / PARTS)
    remote = Folder.at(
        "s3://bucket/x",
        tmp_path,
        StorageOptions(endpoint="http://127.0.0.1:1", region="r", access_key_id="a", secret_access_key="b"),
        hash_max_bytes=0,
    )
    assert remote.remote
    assert written(remote).path.is_relative_to(tmp_path / PARTS)


def test_a_bad_template_does_not_stop_a_recording():
    key = facts("no number").key(3, AT, "ts")
    assert key.suffix == ".ts"
    assert "003" in key.name


def test_recovering_nothing_leaves_nothing(folder):
    part = written(folder, b"")
    with recovery.claim(part) as file:
        assert recovery.recover(part, file) == recovery.Recovered(0, 0)


def test_junk_is_not_taken_for_media(folder):
    part = written(folder, os.urandom(5000))
    with recovery.claim(part) as file, pytest.raises(recovery.Damaged):
        recovery.recover(part, file)


def test_sessions_close_what_their_recorders_left_open(folder):
    session = Session(folder, "r", 1)
    file = session.open(0, "flv")
    session.close()
    assert file.closed


def test_what_another_replica_removes_while_it_is_listed_is_gone(folder, tmp_path, monkeypatch):
    written(folder)
    listed, genuine = [], Path.iterdir

    def removed_before(self):
        listed.append(self)
        shutil.rmtree(tmp_path / PARTS, ignore_errors=True)
        return genuine(self)

    monkeypatch.setattr(Path, "iterdir", removed_before)
    assert folder.recordings() == []
    assert folder.parts("r") == []
    assert len(listed) == 2


class TidyNeighbour:
    """Another replica that, as soon as the folder of a recording was made, ends a recording of its own and removes what is empty."""

    def __init__(self, monkeypatch, folder, times=3):
        self._neighbour, self.left = Folder(folder.storage, folder._parts), times
        self._real = os.mkdir
        monkeypatch.setattr(os, "mkdir", self)

    def __call__(self, path, *rest, **named):
        self._real(path, *rest, **named)
        if self.left and self._neighbour._parts.is_dir():
            self.left -= 1
            self._neighbour.close_recording("r")


def test_a_part_begins_although_another_replica_tidies_up(folder, monkeypatch):
    neighbour = TidyNeighbour(monkeypatch, folder)
    part = written(folder)
    assert part.path.read_bytes() == b"media"
    assert neighbour.left == 0


def test_the_disk_is_there_although_another_replica_tidies_up(folder, monkeypatch):
    neighbour = TidyNeighbour(monkeypatch, folder)
    assert folder.place().look().reason == ""
    assert neighbour.left == 0


def test_a_recording_that_is_closed_loses_no_part_that_begins_in_this_moment(folder, monkeypatch):
    # given an owner that was cut off, and opens a file when its recording has just been found to have none
    home = folder._home("r")
    home.mkdir(parents=True)
    (home / "cursor.json").write_text("{}")
    found, late = folder.parts, []

    def parts(recording_id):
        before = found(recording_id)
        late.append(written(folder, b"late"))
        return before

    monkeypatch.setattr(folder, "parts", parts)
    # when another one closes the recording
    folder.close_recording("r")
    # then it is there for a person
    assert [part.path.read_bytes() for part in late] == [b"late"]


def test_the_end_of_a_recording_leaves_nothing(folder, tmp_path):
    part = written(folder)
    folder.keep_cursor("r", 1, {"index": 0})
    folder.remove(part)
    folder.close_recording("r")
    assert list(tmp_path.iterdir()) == []


def test_a_cursor_is_kept_before_there_is_any_file(folder):
    # given a recording whose first source was an FLV that never came, and whose next one is a playlist
    Session(folder, "r", 1).keep_cursor({})
    assert folder.cursor("r", 1) == {}
    assert folder.parts("r") == []


async def test_a_file_gets_its_name_although_its_folder_is_tidied_away(folder, tmp_path, monkeypatch):
    # given the shelf of a streamer that a reclaim has just emptied, and removes
    (tmp_path / "Ann").mkdir()
    real, gone = os.link, []

    def link(source, target):
        if not gone:
            gone.append(target)
            (tmp_path / "Ann").rmdir()
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    await folder.finish(written(folder), NAME, tell)
    assert (tmp_path / "Ann/show 000.flv").read_bytes() == b"media"


async def test_a_file_that_two_replicas_finish_is_there_once(folder, tmp_path, monkeypatch):
    # given a replica that finds a part between its two names, while another one gives it the second
    part, real = written(folder), os.link

    def link(source, target):
        real(source, target)
        part.path.unlink()

    monkeypatch.setattr(os, "link", link)
    await folder.finish(part, NAME, tell)
    assert (tmp_path / "Ann/show 000.flv").read_bytes() == b"media"
    assert await folder.finished(part) is not None

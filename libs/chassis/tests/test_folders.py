"""A folder that somebody else removes whenever it is empty is written into all the same."""

import os
from pathlib import Path

import pytest
from chassis import folders
from chassis.folders import in_folder
from chassis.storage import LocalStorage


class Neighbour:
    """Removes a folder that is empty, so many times, right before something is put into it or another one is made in it."""

    def __init__(self, monkeypatch, folder, times, *, at="open"):
        self._folder, self.left = folder, times
        self._real = getattr(os, at)
        monkeypatch.setattr(os, at, self)

    def __call__(self, path, *rest, **named):
        if self.left and Path(path).parent == self._folder and self._folder.is_dir():
            self.left -= 1
            self._folder.rmdir()
        return self._real(path, *rest, **named)


def put(path):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    return path


def test_a_folder_is_made_and_written_into(tmp_path):
    assert in_folder(tmp_path / "a/b", lambda: put(tmp_path / "a/b/file")).exists()


@pytest.mark.parametrize("times", [1, 5])
def test_what_is_removed_before_it_is_used_is_made_again(tmp_path, monkeypatch, times):
    neighbour = Neighbour(monkeypatch, tmp_path / "a/b", times)
    assert in_folder(tmp_path / "a/b", lambda: put(tmp_path / "a/b/file")).exists()
    assert neighbour.left == 0


def test_the_folder_above_may_go_while_the_one_below_is_made(tmp_path, monkeypatch):
    neighbour = Neighbour(monkeypatch, tmp_path / "a", 3, at="mkdir")
    (tmp_path / "a").mkdir()
    assert in_folder(tmp_path / "a/b", lambda: put(tmp_path / "a/b/file")).exists()
    assert neighbour.left == 0


def test_a_folder_that_goes_while_it_is_found_to_be_there_is_made_again(tmp_path, monkeypatch):
    folder, found = tmp_path / "a", os.mkdir
    folder.mkdir()

    def mkdir(path, *rest, **named):
        try:
            found(path, *rest, **named)
        except FileExistsError:
            folder.rmdir()
            raise

    monkeypatch.setattr(os, "mkdir", mkdir)
    assert in_folder(folder, lambda: put(folder / "file")).exists()


def test_what_is_missing_for_good_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        in_folder(tmp_path / "a", lambda: os.rename(tmp_path / "nothing", tmp_path / "a/file"))  # noqa: PTH104


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    put(tmp_path / "a")
    with pytest.raises(NotADirectoryError):
        in_folder(tmp_path / "a", lambda: put(tmp_path / "a/file"))


def test_a_neighbour_that_never_stops_is_told_and_not_waited_for(tmp_path, monkeypatch):
    neighbour = Neighbour(monkeypatch, tmp_path / "a", 10 * folders.ATTEMPTS)
    with pytest.raises(FileNotFoundError):
        in_folder(tmp_path / "a", lambda: put(tmp_path / "a/file"))
    assert neighbour.left == 9 * folders.ATTEMPTS


@pytest.mark.parametrize("move", [True, False])
async def test_a_file_is_stored_although_its_folder_is_tidied_away(tmp_path, monkeypatch, move):
    # given a shelf whose last file was reclaimed, and whoever tidies up behind that
    source = tmp_path / "source"
    source.write_bytes(b"media")
    storage = LocalStorage(tmp_path / "store")
    (tmp_path / "store/ann").mkdir(parents=True)
    gone = []

    def tidy(real):
        def call(path, target):
            if not gone:
                gone.append(real)
                (tmp_path / "store/ann").rmdir()
            return real(path, target)

        return call

    monkeypatch.setattr(Path, "replace", tidy(Path.replace))
    real_open = Path.open

    def opening(path, mode="r", **rest):
        if "x" in mode and not gone:
            gone.append(mode)
            (tmp_path / "store/ann").rmdir()
        return real_open(path, mode, **rest)

    monkeypatch.setattr(Path, "open", opening)
    await storage.put_file(source, "ann/show.flv", move=move)
    assert (tmp_path / "store/ann/show.flv").read_bytes() == b"media"
    assert gone

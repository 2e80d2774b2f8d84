import asyncio
import errno
from types import SimpleNamespace

import pytest
from contracts.downloader import DiskLow, DiskRecovered, DiskUnavailable

from services.downloader import guard as guards
from services.downloader.adapters import place as places
from services.downloader.adapters.place import Place
from services.downloader.guard import Guard
from services.downloader.space import DISK, Disk, Seen, Threshold, Thresholds, decide_disk, level_of, refusal
from tests.deadline import DEADLINE_S

MB = 1_000_000
TOTAL = 10_000 * MB
LIMITS = Thresholds(warn=Threshold(2000), stop=Threshold(500))


@pytest.mark.parametrize(
    ("free_mb", "before", "level"),
    [
        (5000, "ok", "ok"),
        (1999, "ok", "warn"),
        (499, "warn", "stop"),
        (499, "ok", "stop"),
        # a level is left only with a fifth more than its threshold
        (599, "stop", "stop"),
        (600, "stop", "warn"),
        (2399, "warn", "warn"),
        (2400, "warn", "ok"),
        (2100, "stop", "warn"),
        (5000, "unavailable", "ok"),
    ],
)
def test_levels_follow_the_free_space_and_do_not_flap(free_mb, before, level):
    assert level_of(Seen(free_mb * MB, TOTAL), LIMITS, before) == level


def test_of_two_thresholds_the_stricter_one_holds():
    limits = Thresholds(warn=Threshold(10, 20), stop=Threshold(2000, 5))
    assert (limits.warn.bytes_of(TOTAL), limits.stop.bytes_of(TOTAL)) == (2000 * MB, 2000 * MB)
    assert limits.floor(TOTAL) == 1000 * MB
    assert level_of(Seen(0, TOTAL), Thresholds(Threshold(), Threshold()), "ok") == "ok"


def test_a_change_is_told_once():
    state, told = Disk(), []
    for seen in (
        Seen(5000 * MB, TOTAL), Seen(1000 * MB, TOTAL), Seen(900 * MB, TOTAL), Seen(1, TOTAL), Seen(reason="gone"),
        Seen(reason="gone"), Seen(reason="still gone"), Seen(5000 * MB, TOTAL), Seen(5000 * MB, TOTAL),
    ):  # fmt: skip
        events = decide_disk(state, "w", seen, level_of(seen, LIMITS, state.level))
        state = DISK.fold(events, state)
        told += events
    assert told == [
        DiskLow(worker="w", level="warn", free_bytes=1000 * MB, total_bytes=TOTAL),
        DiskLow(worker="w", level="stop", free_bytes=1, total_bytes=TOTAL),
        DiskUnavailable(worker="w", reason="gone"),
        DiskUnavailable(worker="w", reason="still gone"),
        DiskRecovered(worker="w", free_bytes=5000 * MB, total_bytes=TOTAL),
    ]


def test_a_refusal_says_why():
    assert refusal(Seen(499 * MB, TOTAL), "stop") == "only 499 MB are free"
    assert refusal(Seen(reason="gone"), "unavailable") == "gone"
    assert refusal(Seen(999 * MB, TOTAL), "warn") == ""


def test_a_folder_that_can_be_written_tells_its_room(tmp_path):
    seen = Place(tmp_path / "recordings" / ".partial", tmp_path / "recordings").look()
    assert 0 < seen.free <= seen.total and seen.reason == ""
    assert list((tmp_path / "recordings" / ".partial").iterdir()) == []


def test_a_folder_without_its_marker_is_not_used_and_not_made(tmp_path):
    root = tmp_path / "volume"
    place = Place(root / ".partial", root, ".aircheck-volume")
    assert "the marker .aircheck-volume is not in it" in place.look().reason
    assert not root.exists()
    root.mkdir()
    (root / ".aircheck-volume").touch()
    assert place.look().reason == ""


def test_a_folder_that_cannot_be_made_is_not_used(tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be used: Not a directory" in Place(tmp_path / "file" / ".partial", tmp_path / "file").look().reason


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_room_for_a_byte_is_full_whatever_it_says(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, "no")

    monkeypatch.setattr(places.Path, "write_bytes", refuse)
    seen = Place(tmp_path / ".partial", tmp_path).look()
    assert (seen.free, seen.reason) == (0, "") and seen.total > 0


def test_a_folder_that_may_not_be_written_is_not_used(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(places.Path, "write_bytes", refuse)
    assert Place(tmp_path / ".partial", tmp_path).look().reason.endswith("Read-only file system")


class Rig:
    """A guard whose looks are scripted; each one tells when it is done."""

    def __init__(self, monkeypatch, *seen):
        self.left, self.paused, self.told, self.over = list(seen), [], [], asyncio.Event()
        self.failures = 0
        self.guard = Guard(self.look, LIMITS, self.tell, every_s=0.001)
        self.guard.runner = SimpleNamespace(paused=False, pause=lambda: self.set(True), resume=lambda: self.set(False))

    def set(self, paused):
        self.guard.runner.paused = paused
        self.paused.append(paused)

    def look(self):
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]

    async def tell(self, seen, level):
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        self.told.append(level)
        if len(self.left) == 1:
            self.over.set()


async def run(rig):
    await rig.guard.start()
    async with asyncio.timeout(DEADLINE_S):
        await rig.over.wait()
    await rig.guard.stop()


async def test_claims_pause_without_room_and_go_on_with_it(monkeypatch):
    rig = Rig(monkeypatch, Seen(5000 * MB, TOTAL), Seen(1, TOTAL), Seen(550 * MB, TOTAL), Seen(5000 * MB, TOTAL))
    await run(rig)
    assert rig.paused == [True, False]
    assert rig.told == ["ok", "stop", "ok"]
    assert rig.guard.refusal == ""


async def test_what_could_not_be_told_is_told_later(monkeypatch):
    rig = Rig(monkeypatch, Seen(1, TOTAL))
    rig.failures = 2
    await run(rig)
    assert rig.told == ["stop"]
    with pytest.raises(RuntimeError, match="0 MB are free"):
        await rig.guard.check()
    assert rig.guard.too_low_to_go_on


async def test_a_folder_that_hangs_is_not_used_and_not_looked_at_twice(monkeypatch):
    monkeypatch.setattr(guards, "ANSWER_S", 0.01)
    hanging, looks = asyncio.Event(), []

    async def hang(look):
        looks.append(look)
        await hanging.wait()
        return Seen(5000 * MB, TOTAL)

    monkeypatch.setattr(guards.asyncio, "to_thread", hang)
    rig = Rig(monkeypatch, Seen())
    await rig.guard._step()
    await rig.guard._step()
    assert "did not answer" in rig.guard.refusal and rig.paused == [True]
    assert len(looks) == 1
    hanging.set()
    await rig.guard._step()
    assert rig.guard.refusal == "" and rig.paused == [True, False]

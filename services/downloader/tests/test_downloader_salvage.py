"""What a lost owner left on this machine, with a log in memory."""

import time
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from types import SimpleNamespace

import pytest
from chassis.storage import LocalStorage
from contracts.downloader import (
    RecordingEnded,
    RecordingStarted,
    SegmentCompleted,
    SegmentDiscarded,
    SegmentOpened,
    StartRecording,
)
from contracts.values import Effective, EndReason
from media.mpegts import packets
from media.repair.join import Tail
from media.repair.replay import mark

from libs.media.tests import flv_streams as flv
from services.downloader import domain
from services.downloader.adapters import engine, flv_stream
from services.downloader.adapters.engine import Gaps, StartPoint, Take
from services.downloader.adapters.files import PARTS, RECOVERED, Folder
from services.downloader.domain import RECORDING, Recording
from services.downloader.facts import Facts, open_segment
from services.downloader.salvage import Salvage

IDS = {"recording_id": "r", "session_id": "s", "streamer_id": "a"}
START = StartRecording(
    **IDS,
    streamer_name="Ann",
    url="http://x/1",
    platform="p",
    title="show",
    effective=Effective(file_template="{title} {index:03}"),
)
PACKETS = bytes([packets.SYNC_BYTE]) * packets.PACKET_BYTES * 100


class Log:
    """A journal without a database."""

    recording_id = "r"

    def __init__(self, *events):
        self.state = RECORDING.fold([*domain.decide_start(Recording(), START), *events])
        self.told = []

    async def load(self):
        return self.state

    async def append(self, facts):
        news = domain.decide_facts(self.state, facts)
        self.told += news
        self.state = RECORDING.fold(news, self.state)


def started(epoch):
    return RecordingStarted(**IDS, worker=f"w{epoch}", epoch=epoch, engine="native")


def opened(index=0):
    return SegmentOpened(**IDS, index=index, uri="file:///x", start_ms=500, started_at="2026-11-21T20:00:00+00:00")


def ended():
    return RecordingEnded(**IDS, reason=EndReason.STOPPED, detail="", segments=0, next_index=1, duration_ms=0, bytes=0)


FACTS = Facts(Log().state.request)


@pytest.fixture
def folder(tmp_path):
    return Folder(LocalStorage(tmp_path), tmp_path / PARTS)


@pytest.fixture
def salvage(folder):
    return Salvage(folder, min_bytes=1000)


def written(folder, data=PACKETS, index=0, epoch=1):
    with folder.open("r", epoch, index, "ts") as file:
        file.write(data)
        return file.part


def kept(tmp_path):
    return [path.name for path in (tmp_path / RECOVERED).rglob("*") if path.is_file()]


async def test_the_file_of_an_earlier_owner_is_recovered(folder, salvage, tmp_path):
    written(folder, PACKETS + b"torn")
    log = Log(started(1), opened(), started(2))
    await salvage.take_over(log, FACTS, 2)
    (event,) = log.told
    assert isinstance(event, SegmentCompleted)
    assert (event.recovered, event.index, event.start_ms) == (True, 0, 500)
    assert (tmp_path / "show 000.ts").read_bytes() == PACKETS
    assert folder.parts("r") == []


@pytest.mark.parametrize("held", [True, False])
async def test_a_torn_group_that_the_next_owner_holds_is_left_out(folder, salvage, tmp_path, held):
    # given a file that ends in the middle of its third group
    source = flv.gops(0, range(3))[: 2 * 28 + 9]
    with folder.open("r", 1, 0, "flv") as file:
        file.write(flv.record(flv.stream(*source)).contents[0][:-7])
    log = Log(started(1), opened(), started(2))
    asked = []

    def holds(found):
        asked.append(found)
        return held

    # when it is recovered by somebody who has received that group, or has not
    joint = await salvage.take_over(log, FACTS, 2, held=holds)
    # then the file ends before it, or with its last whole tag; the next one begins behind that
    (event,) = log.told
    kept = source[: 2 * 28] if held else source[:-1]
    assert asked == [mark(source[2 * 28])]
    assert flv.media((tmp_path / "show 000.flv").read_bytes()) == kept
    assert event.duration_ms == kept[-1].timestamp
    tail = Tail.from_json(joint["tail"])
    assert [one.time for one in tail.tags] == [500 + tag.timestamp for tag in kept]
    assert [one.time for one in tail.ahead] == ([500 + tag.timestamp for tag in source[2 * 28 : -1]] if held else [])


async def broken_recording(open_file, monkeypatch):
    """A recording whose source was away for half a minute in the middle of a file; the engine and what it told."""
    events, now = [], [1_790_000_000.0]
    monkeypatch.setattr(flv_stream, "time", SimpleNamespace(time=lambda: now[0], monotonic=time.monotonic))
    gaps = Gaps(events.append)
    stream = flv_stream.FlvStream(Take(open_file, StartPoint(), gaps, events.append), stall_s=30)
    stream.connected()
    await stream.feed(flv.stream(*flv.gops(0, range(10))))
    gaps.open(stream.here.position_ms, "drop")
    now[0] += 30.0
    stream.connected()
    await stream.feed(flv.stream(*flv.gops(34_000, range(100, 112))))
    return stream, events


async def test_a_recovered_file_tells_the_breaks_that_were_in_it_so_that_its_chat_stays_in_sync(
    folder, salvage, monkeypatch
):
    # given a recorder that was killed, and what its log holds
    files = []

    def open_file(index, extension):
        files.append(folder.open("r", 1, index, extension))
        return files[-1]

    _, events = await broken_recording(open_file, monkeypatch)
    files[0].close()
    to_facts = {
        engine.SegmentOpened: lambda event: FACTS.opened(event, "file:///x"),
        engine.GapOpened: FACTS.gap_opened,
        engine.GapClosed: FACTS.gap_closed,
    }
    log = Log(started(1), *(to_facts[type(event)](event) for event in events), started(2))
    # when its file is recovered
    await salvage.take_over(log, FACTS, 2)
    (recovered,) = log.told
    # then it tells what it would have told, had it been finished
    whole, events = await broken_recording(lambda index, extension: flv.MemoryFile(), monkeypatch)
    await whole.finish()
    (finished,) = [event for event in events if isinstance(event, engine.SegmentCompleted)]
    placed = [(one["kind"], one["at_ms"], one["lost_ms"]) for one in finished.repairs if one["lost_ms"]]
    assert [(one["kind"], one["at_ms"], one["lost_ms"]) for one in recovered.repairs] == placed
    assert len(placed) == 1 and placed[0][2] > 29_000
    ended_at = domain.resume_point(log.state)[1]
    assert ended_at - datetime.fromisoformat(recovered.started_at) > timedelta(seconds=34)


async def test_a_recovered_file_keeps_the_name_it_was_begun_under(folder, salvage, tmp_path):
    written(folder)
    begun = opened().model_copy(update={"uri": folder.storage.uri("old title 000.ts")})
    await salvage.take_over(Log(started(1), begun, started(2)), FACTS, 2)
    assert [path.name for path in tmp_path.glob("*.ts")] == ["old title 000.ts"]


async def test_a_file_with_next_to_nothing_in_it_is_discarded(folder, salvage, tmp_path):
    written(folder, PACKETS[:188])
    log = Log(started(1), opened(), started(2))
    await salvage.take_over(log, FACTS, 2)
    assert [type(event) for event in log.told] == [SegmentDiscarded]
    assert folder.parts("r") == []
    assert list(tmp_path.glob("*.ts")) == []


async def test_a_file_the_log_has_not_heard_of_is_adopted(folder, salvage, tmp_path):
    written(folder, index=0)
    written(folder, index=1)
    log = Log(started(1), opened(0), started(2))
    await salvage.take_over(log, FACTS, 2)
    assert [type(event) for event in log.told] == [SegmentCompleted, SegmentOpened, SegmentCompleted]
    assert [event.index for event in log.told] == [0, 1, 1]
    assert sorted(path.name for path in tmp_path.glob("*.ts")) == ["show 000.ts", "show 001.ts"]


async def test_a_finished_file_whose_event_was_never_appended_is_told(folder, salvage, tmp_path):
    part = written(folder)
    segment = open_segment(opened(), 1, "w1")
    told = await folder.finish(
        part, PurePosixPath("show 000.ts"), lambda artifact: FACTS.recovered(segment, 4000, artifact)
    )
    log = Log(started(1), opened(), started(2))
    await salvage.take_over(log, FACTS, 2)
    assert log.told == [told]
    assert [path.name for path in tmp_path.glob("*.ts")] == ["show 000.ts"]
    assert folder.parts("r") == []


async def test_the_files_of_the_present_owner_are_left_alone(folder, salvage):
    part = written(folder, epoch=2)
    log = Log(started(1), started(2), opened())
    await salvage.take_over(log, FACTS, 2)
    await salvage.sweep(log)
    assert log.told == []
    assert part.path.exists()


async def test_what_is_still_being_written_is_left_alone(folder, salvage):
    log = Log(started(1), opened(), started(2))
    with folder.open("r", 1, 0, "ts") as file:
        file.write(PACKETS)
        await salvage.take_over(log, FACTS, 2)
        await salvage.sweep(log)
        assert log.told == []
    await salvage.sweep(log)
    assert [type(event) for event in log.told] == [SegmentCompleted]


async def test_a_sweep_does_not_take_what_a_claim_will_take(folder, salvage):
    written(folder)
    log = Log(started(1), opened())
    await salvage.sweep(log)
    assert log.told == []


async def test_a_file_that_was_declared_lost_is_kept_for_a_person(folder, salvage, tmp_path):
    written(folder)
    lost = SegmentDiscarded(**IDS, index=0, reason="lost with worker w1")
    log = Log(started(1), opened(), started(2), lost, ended())
    await salvage.sweep(log)
    assert log.told == []
    assert len(kept(tmp_path)) == 1
    assert not (tmp_path / PARTS).exists()


async def test_a_file_of_nobody_is_kept_for_a_person(folder, salvage, tmp_path):
    written(folder)
    log = Log()
    log.state = Recording()
    await salvage.sweep(log)
    assert len(kept(tmp_path)) == 1


async def test_a_stale_owners_extra_file_is_kept_and_not_adopted(folder, salvage, tmp_path):
    # An owner that was cut off from the database went on to a second file while the next owner recorded its own.
    written(folder, index=1, epoch=1)
    log = Log(started(1), opened(0), started(2), opened(1))
    await salvage.sweep(log)
    assert log.told == []
    assert len(kept(tmp_path)) == 1


async def test_what_is_settled_is_cleaned_up(folder, salvage, tmp_path):
    part = written(folder)
    log = Log(started(1), opened(), started(2))
    await salvage.take_over(log, FACTS, 2)
    written(folder, epoch=1)
    await salvage.sweep(log)
    assert not part.path.exists()
    assert folder.parts("r") == []
    assert kept(tmp_path) == []

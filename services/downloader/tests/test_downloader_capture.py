import asyncio
from datetime import UTC, datetime

import pytest
from contracts.values import Effective, EndReason, Network, Source

from services.downloader.adapters.capture import Capture, Ended, Patience
from services.downloader.adapters.engine import (
    DiskFailed,
    GapClosed,
    GapOpened,
    Gaps,
    NeedsFfmpeg,
    Offline,
    Progress,
    SourceFailed,
    SourcesUnavailable,
    StartPoint,
    Take,
)
from tests.deadline import DEADLINE_S

FLV = Source(url="http://one/live.flv", protocol="flv")
HLS = Source(url="http://two/live.m3u8", protocol="hls")
QUICK = Patience(base_s=0, cap_s=0, give_up_s=30, refresh_after=2)
DROP = SourceFailed("connection broke")


class Engine:
    """Plays a script: each play writes what the next entry says and then ends as it says."""

    def __init__(self, protocol, take, script, playing):
        self.protocol, self.take, self._script, self.playing = protocol, take, script, playing
        self.bytes = self.finished = self.abandoned = self.cuts = 0
        self.cursor = None

    progress = property(lambda self: Progress(self.take.start.index, self.bytes, self.bytes * 10))
    flowing = property(lambda self: self.bytes > 0)
    here = property(
        lambda self: StartPoint(
            self.take.start.index + 1, self.take.start.position_ms + self.bytes * 10, datetime.now(UTC), self.cursor
        )
    )

    async def play(self, source):
        gained, outcome = self._script.pop(0)
        self.bytes += gained
        if gained:
            self.take.gaps.close(self.here.position_ms, 1)
        if outcome == "on":
            self.playing.set()
            await asyncio.Event().wait()
        if isinstance(outcome, Exception):
            raise outcome

    def cut(self):
        self.cuts += 1

    async def finish(self):
        self.finished += 1

    async def abandon(self):
        self.abandoned += 1


class Stage:
    def __init__(self, *script, sources=(), patience=QUICK, start=None):
        self.engines, self.events, self.cursors, self.refreshes = [], [], [], []
        self._sources, self._script = list(sources), list(script)
        self.playing = asyncio.Event()
        gaps = Gaps(self.events.append)
        take = Take(None, start or StartPoint(), gaps, self.events.append, keep_cursor=self.cursors.append)
        self.effective, self.by_ffmpeg, self.refused = Effective(), [], asyncio.Event()
        self.capture = Capture(self, self, take, patience)

    # The kit

    def key(self, source):
        return f"{source.protocol} {self.effective.engine}"

    def make(self, source, take):
        self.engines.append(Engine(source.protocol, take, self._script, self.playing))
        return self.engines[-1]

    def engine(self, source):
        return "native"

    def differs(self, effective):
        return effective != self.effective

    async def refit(self, effective):
        self.effective = effective

    async def ready(self):
        if self.effective.network.account == "unknown":
            self.refused.set()
            raise SourcesUnavailable("no such account")

    async def resolved(self, source):
        return source

    def needs_ffmpeg(self, source):
        self.by_ffmpeg.append(source)

    # The sources

    def reconfigure(self, effective):
        self.events.append(("chosen by", effective.engine))

    async def choose(self, *, refresh):
        self.refreshes.append(refresh)
        answer = self._sources.pop(0) if self._sources else FLV
        if isinstance(answer, Exception):
            raise answer
        return answer

    def failed(self, source, failure):
        self.events.append(("failed", source.protocol))

    def worked(self, source):
        self.events.append(("worked", source.protocol))

    @property
    def gaps(self):
        return [event for event in self.events if isinstance(event, GapOpened | GapClosed)]


async def test_a_playlist_that_says_it_is_complete_ends_the_capture():
    stage = Stage((5, None))
    assert await stage.capture.run() == Ended(EndReason.SOURCE_ENDED, "the playlist is complete")
    assert stage.engines[0].finished == 1
    assert stage.gaps == []


async def test_a_break_is_a_gap_and_the_same_engine_goes_on():
    stage = Stage((5, DROP), (5, None))
    await stage.capture.run()
    assert len(stage.engines) == 1
    assert stage.gaps == [GapOpened(50, "connection broke"), GapClosed(100, 1)]
    assert ("worked", "flv") in stage.events
    assert stage.capture.progress.bytes == 10


async def test_breaks_before_the_first_media_are_no_gaps():
    stage = Stage((0, DROP), (0, DROP), (3, None))
    await stage.capture.run()
    assert stage.gaps == []


async def test_fresh_sources_are_asked_for_after_some_failures():
    stage = Stage((0, DROP), (0, DROP), (0, DROP), (1, None))
    await stage.capture.run()
    assert stage.refreshes == [False, False, True, False]


@pytest.mark.parametrize(
    "failure",
    [SourceFailed("HTTP 403", status=403), SourceFailed("HTTP 404", status=404), SourceFailed("end", over=True)],
)
async def test_fresh_sources_are_asked_for_at_once_when_an_address_is_no_good(failure):
    stage = Stage((0, failure), (1, None))
    await stage.capture.run()
    assert stage.refreshes == [False, True]


async def test_offline_ends_the_capture():
    stage = Stage((5, SourceFailed("end", over=True)), sources=[FLV, Offline("the channel is offline")])
    assert await stage.capture.run() == Ended(EndReason.SOURCE_ENDED, "the channel is offline")
    assert stage.engines[0].finished == 1


async def test_without_media_for_too_long_it_gives_up():
    patience = Patience(base_s=0.001, cap_s=0.001, give_up_s=0.02)
    stage = Stage(*[(0, DROP)] * 10_000, patience=patience)
    ended = await stage.capture.run()
    assert ended.reason is EndReason.FAILED
    assert "connection broke" in ended.detail


async def test_sources_that_are_not_known_yet_are_asked_for_again():
    stage = Stage((1, None), sources=[SourcesUnavailable("the monitor does not answer"), FLV])
    assert (await stage.capture.run()).reason is EndReason.SOURCE_ENDED
    assert stage.refreshes == [False, True]


async def test_another_protocol_goes_on_where_the_first_one_stopped():
    stage = Stage((5, DROP), (3, None), sources=[HLS, FLV])
    await stage.capture.run()
    hls, flv = stage.engines
    assert (hls.protocol, flv.protocol, hls.finished) == ("hls", "flv", 1)
    assert (flv.take.start.index, flv.take.start.position_ms) == (1, 50)
    assert stage.cursors == [{}], "no playlist goes on behind an FLV stream"
    assert stage.capture.progress.bytes == 8


async def test_a_stop_closes_the_file():
    stage = Stage((5, "on"))
    running = asyncio.create_task(stage.capture.run())
    async with asyncio.timeout(DEADLINE_S):
        await stage.playing.wait()
    stage.capture.cut()
    stage.capture.stop(Ended(None))
    stage.capture.stop(Ended(EndReason.FAILED, "later"))
    assert await running == Ended(None)
    assert (stage.engines[0].finished, stage.engines[0].cuts) == (1, 1)


async def test_a_stop_before_anything_came_is_an_end_too():
    stage = Stage()
    stage.capture.stop(Ended(None))
    assert await stage.capture.run() == Ended(None)
    assert stage.engines == []


async def test_a_lost_lease_leaves_the_file_alone():
    stage = Stage((5, "on"))
    running = asyncio.create_task(stage.capture.run())
    async with asyncio.timeout(DEADLINE_S):
        await stage.playing.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (stage.engines[0].finished, stage.engines[0].abandoned) == (0, 1)


async def test_a_full_disk_is_no_broken_connection():
    stage = Stage((5, DiskFailed("no space")))
    with pytest.raises(DiskFailed):
        await stage.capture.run()
    assert stage.gaps == []


async def test_a_changed_configuration_takes_over_in_the_next_file_of_the_same_recording():
    stage = Stage((5, "on"), (3, None))
    running = asyncio.create_task(stage.capture.run())
    async with asyncio.timeout(DEADLINE_S):
        await stage.playing.wait()
    stage.capture.reconfigure(Effective(engine="ffmpeg"))
    assert (await running).reason is EndReason.SOURCE_ENDED
    first, second = stage.engines
    assert (first.finished, first.cuts) == (1, 1)
    assert (second.take.start.index, second.take.start.position_ms) == (1, 50)
    assert stage.gaps[0] == GapOpened(50, "the configuration changed")
    assert isinstance(stage.gaps[1], GapClosed)
    assert stage.cursors == [], "the same protocol goes on behind its playlist"
    assert ("chosen by", "ffmpeg") in stage.events


async def test_a_configuration_that_concerns_no_engine_disturbs_nothing():
    stage = Stage((5, "on"))
    running = asyncio.create_task(stage.capture.run())
    async with asyncio.timeout(DEADLINE_S):
        await stage.playing.wait()
    stage.capture.reconfigure(Effective())
    stage.capture.stop(Ended(None))
    await running
    assert (len(stage.engines), stage.engines[0].cuts, stage.gaps) == (1, 0, [])


async def test_an_account_that_cannot_be_had_is_waited_for():
    stage = Stage((5, "on"), (1, None))
    running = asyncio.create_task(stage.capture.run())
    async with asyncio.timeout(DEADLINE_S):
        await stage.playing.wait()
        stage.capture.reconfigure(Effective(network=Network(account="unknown")))
        stage.playing.clear()
        await stage.refused.wait()
        stage.capture.reconfigure(Effective(network=Network(account="known")))
        await running
    assert len(stage.engines) == 2 or stage.engines[0].cuts == 2


async def test_what_only_ffmpeg_can_record_is_left_to_it():
    stage = Stage((0, NeedsFfmpeg("the sound is elsewhere")), (1, None))
    await stage.capture.run()
    assert stage.by_ffmpeg == [FLV]


def test_the_first_attempt_is_made_at_once_then_delays_grow_to_their_cap():
    patience = Patience(base_s=1, cap_s=8)
    assert patience.delay_s(1) == 0
    for failures, delay in ((2, 1), (3, 2), (4, 4), (5, 8), (6, 8), (1000, 8)):
        assert 0.8 * delay <= patience.delay_s(failures) <= 1.2 * delay

from datetime import UTC, datetime, timedelta

import pytest
from contracts.downloader import RecordingRequested
from contracts.monitor import CheckChannel, SourcesResolved
from contracts.values import Effective, EndReason, Network, Source

from services.downloader.adapters.engine import Offline, SourceFailed, SourcesUnavailable
from services.downloader.adapters.selection import best
from services.downloader.adapters.sources import FixedSources, Health, LiveSources

FLV = Source(url="http://one/live.flv?sign=1", protocol="flv", quality="1080p", priority=0)
HLS = Source(url="http://two/live.m3u8", protocol="hls", quality="1080p", priority=1)
SMALL = Source(url="http://one/small.flv", protocol="flv", quality="720p", priority=2)
REFUSED = SourceFailed("HTTP 404", status=404)


class Subscription:
    def __init__(self):
        self.open = True

    async def unsubscribe(self):
        self.open = False


class Signals:
    """A bus with a monitor that answers each check with the next of ``answers``; None is silence."""

    def __init__(self, last=None, answers=()):
        self.last, self.answers = last, list(answers)
        self.checks = []
        self.subscriptions = []
        self.handler = None

    async def last_signal(self, cls, key):
        if isinstance(self.last, Exception):
            raise self.last
        return self.last

    async def listen(self, subject, handler):
        assert subject == "sig.monitor.sources.a"
        self.handler = handler
        self.subscriptions.append(Subscription())
        return self.subscriptions[-1]

    async def send_direct(self, command):
        self.checks.append(command)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            await self.handler("sig.monitor.sources.a", answer)


def resolved(*sources, live=True, error="", age_s=0.0):
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    return SourcesResolved(streamer_id="a", live=live, sources=sources, resolved_at=at.isoformat(), error=error)


def live_sources(signals, **effective):
    request = RecordingRequested(
        recording_id="r",
        session_id="s",
        streamer_id="a",
        streamer_name="Ann",
        url="http://x/1",
        platform="p",
        title="t",
        effective=Effective(**effective),
        first_index=0,
    )
    return LiveSources(signals, request, freshness_s=20, resolve_timeout_s=0.05)


async def test_a_fresh_answer_is_used_without_asking():
    signals = Signals(last=resolved(FLV, age_s=5))
    assert await live_sources(signals).choose(refresh=False) == FLV
    assert signals.checks == []


@pytest.mark.parametrize(
    "last",
    [None, resolved(FLV, age_s=60), resolved(), resolved(live=False), ConnectionError("away")],
    ids=["none", "old", "empty", "offline", "broken"],
)
async def test_anything_else_is_asked_again(last):
    signals = Signals(last=last, answers=[resolved(HLS)])
    network = Network(account="mine", proxy="http://127.0.0.1:3128")
    sources = live_sources(signals, quality="1080p", network=network, engine="yt-dlp")
    assert await sources.choose(refresh=False) == HLS
    (check,) = signals.checks
    assert check == CheckChannel(
        streamer_id="a",
        url="http://x/1",
        name="Ann",
        offline_grace_s=60.0,
        quality="1080p",
        protocol="any",
        network=network,
        engine="yt-dlp",
        broken=True,
    )
    assert [one.open for one in signals.subscriptions] == [False]


async def test_offline_ends_the_recording():
    with pytest.raises(Offline) as gone:
        await live_sources(Signals(answers=[resolved(live=False)])).choose(refresh=False)
    assert gone.value.reason is EndReason.SOURCE_ENDED
    with pytest.raises(Offline, match="banned") as banned:
        await live_sources(Signals(answers=[resolved(live=False, error="banned")])).choose(refresh=False)
    assert banned.value.reason is EndReason.FAILED


async def test_a_silent_monitor_is_no_end():
    with pytest.raises(SourcesUnavailable, match="does not answer"):
        await live_sources(Signals()).choose(refresh=False)
    with pytest.raises(SourcesUnavailable, match="nobody knows"):
        await live_sources(Signals(answers=[resolved()])).choose(refresh=False)


@pytest.mark.parametrize("failure", [None, ConnectionError("away")])
async def test_without_an_answer_the_known_sources_are_tried_again(failure):
    signals = Signals(last=resolved(FLV), answers=[failure])
    sources = live_sources(signals)
    await sources.choose(refresh=False)
    assert await sources.choose(refresh=True) == FLV
    assert len(signals.checks) == 1


async def test_a_source_that_failed_comes_after_its_peers():
    sources = live_sources(Signals(last=resolved(FLV, HLS)))
    assert await sources.choose(refresh=False) == FLV
    sources.failed(FLV, REFUSED)
    assert await sources.choose(refresh=False) == HLS
    sources.failed(HLS, REFUSED)
    sources.failed(HLS, REFUSED)
    assert await sources.choose(refresh=False) == FLV


def test_failures_are_forgotten_with_time_and_signatures_do_not_matter():
    now = [0.0]
    health = Health(lambda: now[0])
    health.failed(FLV)
    assert health.failures(FLV.model_copy(update={"url": "http://one/live.flv?sign=2"})) == 1.0
    assert health.failures(SMALL) == 0.0
    now[0] = 60.0
    assert health.failures(FLV) == 0.5
    for _ in range(5):
        health.failed(FLV)
    health.worked(FLV)
    assert health.failures(FLV) == 1.0


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ({}, FLV),
        ({"protocol": "hls"}, HLS),
        ({"quality": "720p"}, SMALL),
        ({"quality": "720"}, SMALL),
        ({"quality": "source"}, FLV),
        ({"protocol": "hls", "quality": "720p"}, HLS),
    ],
)
def test_the_configuration_chooses_among_healthy_sources(wanted, chosen):
    assert best([SMALL, HLS, FLV], Effective(**wanted), Health().failures) == chosen


def test_the_higher_bitrate_wins_a_tie():
    rich = FLV.model_copy(update={"url": "http://rich/x.flv", "bitrate": 9})
    assert best([FLV, rich], Effective(), Health().failures) == rich


async def test_a_fixed_address_is_over_when_it_refuses_twice():
    sources = FixedSources(FLV)
    assert await sources.choose(refresh=True) == FLV
    sources.failed(FLV, REFUSED)
    sources.failed(FLV, SourceFailed("connection broke"))
    sources.failed(FLV, REFUSED)
    assert await sources.choose(refresh=True) == FLV
    sources.failed(FLV, SourceFailed("ended", over=True))
    with pytest.raises(Offline):
        await sources.choose(refresh=False)

from types import SimpleNamespace

import pytest
from chassis.errors import LeaseLost
from chassis.leases import Lease
from contracts.values import Effective, EngineName, Network, Source

from services.downloader.adapters.engine import SegmentOpened, SourceFailed
from services.downloader.breaker import Breakers, Key, Policy, key_of
from services.downloader.runner import Runner
from services.downloader.waiting import Beginning

POLICY = Policy(failures=3, cool_down_s=60)
KEY = Key("ffmpeg", "x")


class Rig:
    def __init__(self):
        self.now = 1000.0
        self.breakers = Breakers(POLICY, clock=lambda: self.now)

    def fail(self, *origins):
        for origin in origins:
            self.breakers.failed(KEY, origin)

    @property
    def state(self):
        return [(one.state, one.wait_s) for one in self.breakers.told()]


@pytest.fixture
def rig():
    return Rig()


def test_failures_in_a_row_from_several_places_open_it(rig):
    rig.fail("a", "b")
    assert rig.breakers.admit(KEY) == 0 and rig.state == []
    rig.fail("a")
    assert rig.breakers.admit(KEY) == 60 and rig.state == [("open", 60)]
    assert rig.breakers.admit(Key("ffmpeg", "other")) == 0


def test_one_dead_source_opens_nothing(rig):
    rig.fail(*"aaaaaaaaaa")
    assert rig.breakers.admit(KEY) == 0


def test_a_success_in_between_begins_the_count_anew(rig):
    rig.fail("a", "b")
    rig.breakers.worked(KEY)
    rig.fail("a", "b")
    assert rig.breakers.admit(KEY) == 0


def test_after_the_cool_down_one_tries_and_its_success_closes_it(rig):
    rig.fail("a", "b", "c")
    rig.now += 59
    assert rig.breakers.admit(KEY) == 1
    rig.now += 1
    assert rig.breakers.admit(KEY) == 0
    assert rig.state == [("half_open", 0)]
    assert rig.breakers.admit(KEY) == 15, "the others wait for the one that tries"
    rig.breakers.worked(KEY)
    assert rig.breakers.admit(KEY) == 0 and rig.state == []


def test_the_failure_of_the_one_that_tries_opens_it_again(rig):
    rig.fail("a", "b", "c")
    rig.now += 60
    assert rig.breakers.admit(KEY) == 0
    rig.fail("a")
    assert rig.breakers.admit(KEY) == 60


def test_failures_of_what_ran_already_do_not_keep_it_open(rig):
    rig.fail("a", "b", "c")
    rig.now += 30
    rig.fail("a", "b")
    assert rig.breakers.admit(KEY) == 30


def test_when_the_one_that_tries_ends_without_an_outcome_another_one_tries(rig):
    rig.fail("a", "b", "c")
    rig.now += 60
    assert rig.breakers.admit(KEY) == 0
    rig.breakers.left(KEY)
    assert rig.breakers.admit(KEY) == 0


def test_configurations_are_told_apart_by_what_the_engine_gets():
    keys = {
        key_of(Effective()),
        key_of(Effective(engine=EngineName.FFMPEG)),
        key_of(Effective(engine=EngineName.FFMPEG, engine_options={"a": 1})),
        key_of(Effective(network=Network(user_agent="x"))),
    }
    assert len(keys) == 4
    assert key_of(Effective(segment_seconds=5)) == key_of(Effective(quality="worst"))


class Sources:
    def __init__(self):
        self.refreshed, self.failures = [], 0

    async def choose(self, *, refresh):
        self.refreshed.append(refresh)
        return source("a")

    def failed(self, source, failure):
        self.failures += 1

    def worked(self, source):
        pass


def source(host):
    return Source(url=f"http://{host}/1.flv", protocol="flv")


def beginning(rig, *, engine=EngineName.NATIVE, streamer="s", ask=False):
    effective = Effective(engine=engine)
    facts = SimpleNamespace(request=SimpleNamespace(effective=effective, streamer_id=streamer))
    return Beginning(Sources(), rig.breakers, facts, ask=ask), key_of(effective)


async def test_the_first_choice_is_asked_for_anew_where_that_is_wanted(rig):
    one, _ = beginning(rig, ask=True)
    await one.choose(refresh=False)
    await one.choose(refresh=False)
    assert one._sources.refreshed == [True, False]


@pytest.mark.parametrize("failure", [SourceFailed("x", status=404), SourceFailed("x", over=True)])
def test_what_the_source_is_to_blame_for_does_not_count(rig, failure):
    one, key = beginning(rig)
    for host in "abcdef":
        one.failed(source(host), failure)
    assert rig.breakers.admit(key) == 0
    assert one._sources.failures == 6


def test_our_own_engine_is_to_blame_when_several_servers_fail(rig):
    one, key = beginning(rig)
    for _ in range(5):
        one.failed(source("a"), SourceFailed("refused"))
    assert rig.breakers.admit(key) == 0
    one.failed(source("b"), SourceFailed("refused", status=503))
    assert rig.breakers.admit(key) > 0


def test_another_engine_is_to_blame_when_several_streamers_fail(rig):
    for streamer in "ab":
        one, key = beginning(rig, engine=EngineName.FFMPEG, streamer=streamer)
        for _ in range(2):
            one.failed(source("a"), SourceFailed("exit 1"))
    assert rig.breakers.admit(key) > 0


def test_a_break_after_the_first_media_is_no_failure_to_begin(rig):
    one, key = beginning(rig)
    told = []
    one.tells(told.append)(SegmentOpened(0, "flv", 0, None))
    for host in "abcdef":
        one.failed(source(host), SourceFailed("drop"))
    assert rig.breakers.admit(key) == 0 and len(told) == 1


async def test_a_recording_that_ends_before_its_engine_gives_the_trial_back(rig):
    """It was let in to try the engine, and then lost its lease, or was stopped, or the database went away."""
    names = {"recording_id": "r1", "session_id": "s1", "streamer_id": "m1"}
    request = SimpleNamespace(**names, effective=Effective(engine=EngineName.FFMPEG))
    key = key_of(request.effective)
    for origin in "abc":
        rig.breakers.failed(key, origin)
    rig.now += 60

    async def load():
        return SimpleNamespace(request=request, ended=False, stop=None, epoch=0)

    async def append(_):
        raise LeaseLost("recording:r1")

    journal = SimpleNamespace(load=load, append=append)
    outside = SimpleNamespace(
        settings=SimpleNamespace(worker="w"),
        journal_of=lambda *_: journal,
        guard=SimpleNamespace(refusal=""),
        breakers=rig.breakers,
    )
    lease = Lease("recording:r1", 1)
    with pytest.raises(LeaseLost):
        await Runner(outside)._own(lease)
    assert rig.state == [("open", 0)] and rig.breakers.admit(key) == 0

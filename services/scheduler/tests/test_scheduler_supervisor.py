import asyncio

from chassis.leases import Again, Lease
from contracts.values import Effective

from services.scheduler.actor import Actor
from services.scheduler.runner import Supervisor
from services.scheduler.store import Watched
from tests.deadline import DEADLINE_S


def watched(id="a", **changes):
    fields = {
        "url": "u",
        "name": "n",
        "effective": Effective(check_interval_s=3600),
        "session_open": False,
        "check_requested": 0,
    }
    return Watched(id, **{**fields, **changes})


class Rig:
    def __init__(self, *listed, fail_first=0):
        self.listed, self.fail = list(listed), fail_first
        self.checks, self.crashes = asyncio.Queue(), asyncio.Queue()
        make = lambda one: Actor(one, self.send, jitter=0, first_within_s=0)  # noqa: E731
        self.supervisor = Supervisor(self.load, make, self.crashes.put, partitions=1, refresh_s=3600)
        self.lease = Lease("partition:0", 1)

    async def load(self):
        return self.listed

    async def send(self, check):
        if self.fail:
            self.fail -= 1
            raise ConnectionError("no bus")
        await self.checks.put(check)

    async def __aenter__(self):
        await self.supervisor.start()
        self.holding = asyncio.create_task(self.supervisor.hold(self.lease))
        return self

    async def __aexit__(self, *_):
        self.lease.handing_over.set()
        assert isinstance(await self.holding, Again)
        await self.supervisor.stop()
        assert self.supervisor.streamers == frozenset()

    async def next_check(self):
        async with asyncio.timeout(DEADLINE_S):
            return await self.checks.get()


async def test_every_listed_streamer_is_checked_at_once():
    async with Rig(watched("a"), watched("b")) as rig:
        assert {(await rig.next_check()).streamer_id for _ in range(2)} == {"a", "b"}


async def test_a_check_says_what_the_channel_is_recorded_with():
    effective = Effective(check_interval_s=3600, engine="yt-dlp", quality="720p")
    async with Rig(watched("a", effective=effective)) as rig:
        check = await rig.next_check()
    assert (check.engine, check.quality) == ("yt-dlp", "720p")


async def test_a_streamer_of_a_partition_not_held_is_left_alone():
    rig = Rig(watched("a"))
    await rig.supervisor.start()
    await asyncio.sleep(0)
    assert rig.supervisor.streamers == frozenset()
    await rig.supervisor.stop()


async def test_a_requested_check_comes_before_the_interval():
    async with Rig(watched("a")) as rig:
        await rig.next_check()
        rig.listed[0] = watched("a", check_requested=1)
        rig.supervisor.wake()
        assert (await rig.next_check()).streamer_id == "a"


async def test_a_shorter_interval_takes_effect_without_waiting_for_the_old_one():
    async with Rig(watched("a")) as rig:
        await rig.next_check()
        rig.listed[0] = watched("a", effective=Effective(check_interval_s=1))
        rig.supervisor.wake()
        await rig.next_check()


async def test_a_crashed_actor_is_reported_and_started_again():
    async with Rig(watched("a"), fail_first=1) as rig:
        async with asyncio.timeout(DEADLINE_S):
            crash = await rig.crashes.get()
        assert crash.streamer_id == "a" and "no bus" in crash.error
        await rig.next_check()


async def test_a_streamer_that_left_the_list_has_no_actor():
    async with Rig(watched("a")) as rig:
        await rig.next_check()
        rig.listed.clear()
        rig.supervisor.wake()
        while rig.supervisor.streamers:  # noqa: ASYNC110  (ends with the test's own time limit)
            await asyncio.sleep(0)

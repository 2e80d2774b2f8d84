"""Processes that look at pages: who shares one, when they end, and that nothing survives its parent."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable

import psutil
import pytest
from chassis.foreign.job import Job
from chassis.foreign.page import PageStatus
from chassis.pages import PROGRAM, PageFailed, Pages, _Process
from chassis.waiting import wait_for_event

from tests.deadline import DEADLINE_S

NOWHERE = "http://127.0.0.1:1/"
"""Nobody listens there."""
LONG_S = 600.0
"""Longer than the test takes: to start a process takes its time where there is much to do."""


def job(**how: object) -> Job:
    return Job(**{"url": NOWHERE, "purpose": "watch", "allow_private": True, **how})  # type: ignore[arg-type]


def processes(parent: psutil.Process | None = None) -> list[psutil.Process]:
    """Those that look at pages."""
    found = []
    for child in (parent or psutil.Process()).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # one that has just ended
            found += [child] if PROGRAM in child.cmdline() else []
    return found


async def gone(process: psutil.Process) -> bool:
    _, alive = await asyncio.to_thread(psutil.wait_procs, [process], timeout=DEADLINE_S)
    return not alive


async def test_jobs_with_the_same_bounds_share_a_process_and_a_personal_one_does_not() -> None:
    async with Pages(keep_s=LONG_S) as pages:
        await pages.prepare()
        (shared,) = processes()
        for _ in range(2):
            assert (await pages.look(job())).status is PageStatus.FAILED
        assert processes() == [shared]
        await pages.look(job(login_domains=("example.org",), login_cookies={"a": "b"}))
        assert processes() == [shared]
        await pages.look(job(proxy="http://127.0.0.1:1"))
        assert len(processes()) == 2
        (waiting,) = (one._running for one in pages._idle if one._running.pid == shared.pid)
        shared.kill()
        assert await wait_for_event(waiting.exited, DEADLINE_S)
        assert (await pages.look(job())).status is PageStatus.FAILED, "one that died is replaced"
    assert processes() == []


async def test_a_process_is_bound_for_ever() -> None:
    async with Pages(keep_s=LONG_S) as pages:
        assert (await pages.look(job(allow_private=False))).status is PageStatus.REFUSED
        (process,) = pages._idle
        with pytest.raises(PageFailed, match="died"):
            await process.ask(job())


async def test_a_process_that_nobody_needs_ends() -> None:
    async with Pages(keep_s=0.2) as pages:
        await pages.look(job())
        waiting = processes()
        assert all([await gone(one) for one in waiting])
        assert (await pages.look(job())).status is PageStatus.FAILED


class Slow:
    """A process that takes longer to end than another one may wait."""

    def __init__(self, keep_s: float) -> None:
        self.ended, self._keep_s = False, keep_s
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def stop_waiting(self) -> None:
        assert self._timer is not None
        self._timer.cancel()

    async def end(self) -> None:
        self.stop_waiting()
        await asyncio.sleep(2 * self._keep_s)
        self.ended = True


async def test_at_the_end_no_time_runs_out_any_more() -> None:
    # given two processes that wait
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
    slow = [Slow(0.05), Slow(0.05)]
    async with Pages(keep_s=0.05) as pages:
        for process in slow:
            pages._keep(process)  # type: ignore[arg-type]
        # when the time of the second one is over while the first one ends
    # then that one ends with the first
    assert [process.ended for process in slow] == [True, True]
    assert complaints == []


PARENT = f"""
import asyncio
from chassis.foreign.job import Job
from chassis.pages import Pages

async def main():
    pages = Pages(keep_s={LONG_S})
    await pages.look(Job(url={NOWHERE!r}, allow_private=True))
    print("waiting", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_a_process_dies_with_its_parent() -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        assert await parent.stdout.readline() == b"waiting\n"
    (process,) = processes(psutil.Process(parent.pid))
    parent.kill()
    await parent.wait()
    assert await gone(process)


async def test_one_whose_time_is_over_while_another_ends_is_ended_once() -> None:
    # given two processes that wait for no time at all, the first of which takes its time to end
    complaints: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    pages, over, ends = Pages(keep_s=0.001), asyncio.Event(), list[str]()
    for name in ("first", "second"):
        stack = contextlib.AsyncExitStack()
        stack.callback(ends.append, name)
        stack.push_async_callback(over.wait)
        pages._keep(_Process(stack, None))  # type: ignore[arg-type]
    # when all are ended and the time of the second passes meanwhile
    loop.call_later(0.05, over.set)
    await pages.close()
    # then each was ended once, and nobody complained
    assert (ends, complaints) == (["first", "second"], [])

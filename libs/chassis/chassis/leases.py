"""Exactly one owner for each piece of work: a row claimed with ``FOR UPDATE SKIP LOCKED``, an epoch that grows with each claim, a heartbeat.

The epoch is a fencing token: every append made under a lease names it, so that an owner that was paused or cut off cannot write after another
one has taken over. Heartbeat every 3 s, expiry after 10 s: work moves to another replica within 15 s of a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from chassis.database import UNREACHABLE, Connection, Pool
from chassis.errors import LeaseLost
from chassis.eventlog import Fence
from chassis.sql import beside
from chassis.waiting import wait_for_event

QUERIES = beside(__file__, "leases.sql")
HEARTBEAT_S = 3.0
EXPIRY_S = 10.0
HIGH = 1
"""From this priority on work may use the extra slots of a runner; usual work has 0."""
ANY = -(1 << 15)
MAX_DEATHS = 5
"""Owners that died in a row, from which on work that rests is to be given up: it is what ends them."""

log = structlog.get_logger(__name__)


async def offer(connection: Connection, kind: str, name: str, *, delay_s: float = 0, priority: int = 0) -> None:
    """Make work available to all replicas of the service, not before ``delay_s`` from now. What waits is claimed by priority, then by age.

    Work that waits already is done once, at the earlier time; work in hand is done once more when its present run has ended, because that run
    may have looked before this transaction commits.
    """
    await connection.execute(QUERIES["offer"], name, kind, delay_s, priority)


async def prioritise(connection: Connection, name: str, priority: int) -> None:
    """Change the place of waiting work among its like; it keeps its age. Nothing happens for work that is not offered."""
    await connection.execute(QUERIES["prioritise"], name, priority)


async def progressed(connection: Connection, lease: Lease) -> None:
    """The work has got further than under any owner before: those that died on the way are not its fault."""
    if lease.deaths:
        await connection.execute(QUERIES["progressed"], lease.name, lease.epoch)
        lease.deaths = 0


@dataclass(eq=False)
class Lease:
    """Work in hand. ``lost`` is set when another replica owns it; then stop without writing.

    ``deaths``: how many owners in a row ended without giving the work back, where it rests after that (see :class:`LeaseRunner`).
    ``waited_s`` is how long it was due and nobody's when it was claimed for the first time; of later claims it says nothing.
    ``released``: it was given up before its run ended, see :meth:`release`.
    """

    name: str
    epoch: int
    offers: int = 1
    priority: int = 0
    waited_s: float = 0.0
    deaths: int = 0
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    handing_over: asyncio.Event = field(default_factory=asyncio.Event)
    released: bool = False
    give_up: Callable[[Lease], Awaitable[None]] | None = None

    async def release(self) -> None:
        """Let another replica claim the work while this run still ends what it does, so that the two overlap.

        From now on nothing may be appended under this lease: the epoch of the next owner forbids it. Raises what :data:`UNREACHABLE` names.
        """
        self.released = True
        if self.give_up is not None:
            await self.give_up(self)

    @property
    def id(self) -> str:
        """The name without its kind: ``recording:ID`` → ``ID``."""
        return self.name.split(":", 1)[-1]

    @property
    def fence(self) -> Fence:
        """What an append made under this lease names."""
        return Fence(self.name, self.epoch)


class Outcome:
    """What a runner says when it returns."""


class Done(Outcome):
    """The work is over: forget the lease."""


@dataclass(frozen=True)
class Again(Outcome):
    """Somebody (perhaps this replica) should go on after ``delay_s``."""

    delay_s: float = 0.0


Run = Callable[[Lease], Awaitable[Outcome]]


class LeaseRunner:
    """Claims work of one kind and runs ``run(lease)`` for each piece, at most ``concurrency`` at a time, and ``extra_high`` beyond that
    whose priority is :data:`HIGH` or more. Both may be changed at any time (:meth:`resize`): what runs goes on.

    ``rests`` (set before the start): work whose owner died is not claimed again at once but after 2, 4, 8 … s, spread at random. Work that ends
    its process then stops taking down what it shares it with, and can be told from that: ``lease.deaths`` says how often it happened in a
    row, and whoever runs it gives it up at :data:`MAX_DEATHS`. Any end of a run that the process lives to see sets the count back.

    ``run`` must end soon after ``lease.lost`` or ``lease.handing_over`` is set. An exception postpones the work with back-off.
    """

    def __init__(
        self,
        pool: Pool,
        kind: str,
        run: Run,
        *,
        owner: str,
        concurrency: int = 8,
        heartbeat_s: float = HEARTBEAT_S,
        expiry_s: float = EXPIRY_S,
        finish_s: float = 20.0,
    ) -> None:
        self.pool, self.kind, self.run, self.owner = pool, kind, run, owner
        self.concurrency, self.extra_high = concurrency, 0
        self.heartbeat_s, self.expiry_s = heartbeat_s, expiry_s
        self.finish_s, self.rests = finish_s, False
        self._wake = asyncio.Event()
        self._held: dict[str, Lease] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, int] = {}
        self._claiming: asyncio.Task[None] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._stopping = False
        self._paused = False

    @property
    def held(self) -> tuple[Lease, ...]:
        """The leases in hand."""
        return tuple(self._held.values())

    def find(self, id: str) -> Lease | None:
        """The lease of a piece of work, if this replica holds it."""
        return self._held.get(f"{self.kind}:{id}")

    def wake(self) -> None:
        """Look for work now: something was offered."""
        self._wake.set()

    def resize(self, concurrency: int, extra_high: int) -> None:
        """Run another number of pieces from now on; those above it go on to their end."""
        self.concurrency, self.extra_high = concurrency, extra_high
        self._wake.set()

    @property
    def paused(self) -> bool:
        """Whether nothing is claimed at the moment."""
        return self._paused

    def pause(self) -> None:
        """Claim nothing more until :meth:`resume`; what is in hand goes on. Other replicas may claim what waits."""
        self._paused = True

    def resume(self) -> None:
        """Claim again."""
        self._paused = False
        self._wake.set()

    def room(self, priority: int) -> int:
        """How many more pieces of at least this priority may begin. Those of high priority take the extra slots first."""
        high = sum(lease.priority >= HIGH for lease in self._held.values())
        if priority >= HIGH:
            return self.concurrency + self.extra_high - len(self._held)
        return self.concurrency - (len(self._held) - min(high, self.extra_high))

    async def start(self) -> None:
        """Begin to claim."""
        self._claiming = asyncio.create_task(self._claim_loop(), name=f"claim-{self.kind}")
        self._beating = asyncio.create_task(self._beat_loop(), name=f"beat-{self.kind}")

    async def stop(self) -> None:
        """Claim nothing more, ask every run to hand over, wait ``finish_s`` for them, release what is left."""
        self._stopping = True
        self._wake.set()
        if self._claiming is not None:
            # Not cancelled at once: a claim that is under way would own work that nobody runs.
            await asyncio.wait([self._claiming], timeout=self.finish_s)
            await _end(self._claiming)
        for lease in self._held.values():
            lease.handing_over.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks.values(), timeout=self.finish_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._beating is not None:
            await _end(self._beating)

    async def claim(self, id: str) -> bool:
        """Claim one piece of work that nobody holds, even before its time; True when it runs here now. Raises what the database raises.

        For whoever stands by for it: its owner releases it with a delay, so that nobody else is faster.
        """
        name = f"{self.kind}:{id}"
        # What is in hand here is not claimed once more, though its lease may have expired in an outage: the next heartbeat renews it.
        if self._stopping or self._paused or self.room(HIGH) <= 0 or name in self._tasks:
            return False
        row = await self.pool.fetchrow(QUERIES["claim_one"], name, self.owner, self.expiry_s)
        if row is None:
            return False
        self._begin(Lease(row["name"], row["epoch"], row["offers"], row["priority"], row["waited_s"]))
        return True

    async def _claim_loop(self) -> None:
        while not self._stopping:
            self._wake.clear()
            delay = self.heartbeat_s
            try:
                delay = await self._claim_what_is_open()
            except UNREACHABLE as error:
                log.warning("lease.claim_failed", kind=self.kind, error=repr(error))
            except Exception:
                log.exception("lease.claim_failed", kind=self.kind)
            await wait_for_event(self._wake, delay)

    async def _claim_what_is_open(self) -> float:
        if self.rests:
            await self._rest()
        for priority in (HIGH, ANY) if self.extra_high else (ANY,):
            await self._claim(priority)
        open_to = next((priority for priority in (ANY, HIGH) if self._may_claim(priority)), None)
        if open_to is None:
            return self.heartbeat_s
        due = await self.pool.fetchval(QUERIES["next_open_s"], self.kind, list(self._tasks), open_to)
        return self.heartbeat_s if due is None else min(self.heartbeat_s, max(due + 0.02, 0.05))

    def _may_claim(self, priority: int) -> bool:
        return self.room(priority) > 0 and not self._stopping and not self._paused

    async def _claim(self, priority: int) -> None:
        if not self._may_claim(priority):
            return
        # Not what is in hand here: after an outage its lease has expired, but the run goes on and the next heartbeat renews it.
        rows = await self.pool.fetch(
            QUERIES["claim"],
            self.kind,
            self.owner,
            self.expiry_s,
            self.room(priority),
            list(self._tasks),
            priority,
            not self.rests,
        )
        # The rows of an update have no order.
        for row in sorted(rows, key=lambda row: -row["priority"]):
            self._begin(
                Lease(row["name"], row["epoch"], row["offers"], row["priority"], row["waited_s"], row["deaths"])
            )

    async def _rest(self) -> None:
        # Not what is in hand here: see _claim.
        for row in await self.pool.fetch(QUERIES["rest"], self.kind, list(self._tasks)):
            log.warning("lease.owner_died", lease=row["name"], epoch=row["epoch"], deaths=row["deaths"])

    def _begin(self, lease: Lease) -> None:
        self._held[lease.name] = lease
        lease.give_up = self._release
        task = asyncio.create_task(self._run(lease), name=lease.name)
        self._tasks[lease.name] = task
        task.add_done_callback(lambda _: self._forget(lease))

    def _forget(self, lease: Lease) -> None:
        del self._tasks[lease.name], self._held[lease.name]
        self._wake.set()

    async def _run(self, lease: Lease) -> None:
        try:
            outcome = await self.run(lease)
            self._failures.pop(lease.name, None)
        except (asyncio.CancelledError, LeaseLost):
            outcome = Again()
        except Exception:
            failures = self._failures[lease.name] = self._failures.get(lease.name, 0) + 1
            outcome = Again(min(2.0**failures, 300.0))
            log.exception("lease.run_failed", lease=lease.name, epoch=lease.epoch, retry_s=outcome.delay_s)
        if not lease.lost.is_set() and not lease.released:
            await self._settle(lease, outcome)

    async def _release(self, lease: Lease) -> None:
        await self.pool.execute(QUERIES["release"], lease.name, lease.epoch, self.owner)

    async def _settle(self, lease: Lease, outcome: Outcome) -> None:
        with suppress(*UNREACHABLE):  # the lease expires by itself
            if isinstance(outcome, Again) and outcome.delay_s > 0:
                await self.pool.execute(
                    QUERIES["postpone"], lease.name, lease.epoch, self.owner, outcome.delay_s, lease.offers
                )
            elif isinstance(outcome, Done):
                await self._finish(lease)
            else:
                await self.pool.execute(QUERIES["release"], lease.name, lease.epoch, self.owner)

    async def _finish(self, lease: Lease) -> None:
        status = await self.pool.execute(QUERIES["finish"], lease.name, lease.epoch, self.owner, lease.offers)
        if status == "DELETE 0":
            # Offered again since the claim: whoever offered it wants a run that sees what it did.
            await self.pool.execute(QUERIES["release"], lease.name, lease.epoch, self.owner)

    async def _beat_loop(self) -> None:
        while True:
            await asyncio.sleep(self.heartbeat_s)
            held = [one for one in self._held.values() if not one.lost.is_set() and not one.released]
            if held:
                try:
                    await self._beat(held)
                except Exception:
                    # Whatever it was, the work in hand would silently belong to nobody without the next heartbeat.
                    log.exception("lease.heartbeat_failed", kind=self.kind)

    async def _beat(self, held: list[Lease]) -> None:
        names, epochs = [lease.name for lease in held], [lease.epoch for lease in held]
        try:
            rows = await self.pool.fetch(QUERIES["beat"], self.owner, self.expiry_s, names, epochs)
        except UNREACHABLE as error:
            # Without the database nobody can claim the work or append for it: keep going, the epoch decides when it is back.
            log.warning("lease.heartbeat_failed", kind=self.kind, error=repr(error))
            return
        alive = {row["name"] for row in rows}
        for lease in held:
            if lease.name not in alive:
                self._lose(lease)

    def _lose(self, lease: Lease) -> None:
        if lease.name in self._tasks and not lease.lost.is_set():
            log.warning("lease.lost", lease=lease.name, epoch=lease.epoch)
            lease.lost.set()
            self._tasks[lease.name].cancel()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

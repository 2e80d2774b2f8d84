"""Create streams and consumers from the contracts. The only place that declares any; shows what it would change and refuses to guess.

Every update is read-modify-write: the server replaces what an update leaves out by its defaults.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from dataclasses import dataclass, field
from typing import Any

import nats
from contracts import access, streams
from contracts.streams import ConsumerSpec, StreamSpec
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from chassis.bus import connection_options

CONNECT_S = 60.0


@dataclass
class Plan:
    """What is missing or different, in words, and what cannot be changed in place."""

    changes: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


class Drift(RuntimeError):
    """A stream exists with properties that the server cannot change; a person must decide."""


async def provision(js: JetStreamContext, *, dry_run: bool = False, replicas: int = 1) -> Plan:
    """Bring streams and consumers to what the contracts say; raises :class:`Drift` before anything is changed."""
    plan = Plan()
    actions = [await _plan_stream(js, spec, replicas, plan) for spec in streams.STREAMS]
    actions += [await _plan_consumer(js, spec, plan) for spec in streams.consumers()]
    if plan.conflicts:
        raise Drift("; ".join(plan.conflicts))
    for action in actions:
        if action is not None and not dry_run:
            await action()
    return plan


def stream_config(spec: StreamSpec, replicas: int) -> dict[str, Any]:
    """The fields of the server's configuration that the contracts decide."""
    return {
        "name": spec.name,
        "subjects": list(spec.subjects),
        "retention": api.RetentionPolicy.WORK_QUEUE if spec.retention == "workqueue" else api.RetentionPolicy.LIMITS,
        "storage": api.StorageType(spec.storage),
        "discard": api.DiscardPolicy(spec.discard),
        "max_age": float(spec.max_age_s),
        "max_bytes": spec.max_bytes,
        "max_msgs_per_subject": spec.max_msgs_per_subject,
        "duplicate_window": float(min(spec.duplicate_window_s, spec.max_age_s or spec.duplicate_window_s)),
        "allow_atomic": spec.allow_atomic,
        "allow_direct": spec.allow_direct,
        "num_replicas": replicas if spec.storage == "file" else 1,
        "description": spec.why,
    }


_FIXED = ("retention", "storage")


async def _plan_stream(js: JetStreamContext, spec: StreamSpec, replicas: int, plan: Plan) -> Any:
    wanted = stream_config(spec, replicas)
    try:
        current = (await js.stream_info(spec.name)).config
    except NotFoundError:
        plan.changes.append(f"+ stream {spec.name} ({', '.join(spec.subjects)}): {spec.why}")
        return lambda: js.add_stream(api.StreamConfig(**wanted))
    different = {name: value for name, value in wanted.items() if not _same(getattr(current, name), value)}
    if not different:
        return None
    for name in _FIXED:
        if name in different:
            plan.conflicts.append(
                f"stream {spec.name}: {name} is {getattr(current, name)} and cannot become {different[name]}"
            )
    plan.changes.append(
        f"~ stream {spec.name}: " + ", ".join(f"{n} {getattr(current, n)} → {v}" for n, v in different.items())
    )
    return lambda: js.update_stream(current.evolve(**different))


async def _plan_consumer(js: JetStreamContext, spec: ConsumerSpec, plan: Plan) -> Any:
    wanted = consumer_config(spec)
    try:
        current = (await js.consumer_info(spec.stream, spec.name)).config
    except NotFoundError:
        plan.changes.append(f"+ consumer {spec.stream}/{spec.name} ({len(spec.filters)} filters)")
        return lambda: js.add_consumer(spec.stream, api.ConsumerConfig(**wanted))
    filters = current.filter_subjects or ([current.filter_subject] if current.filter_subject else [])
    same = sorted(filters) == sorted(spec.filters) and current.ack_wait == wanted["ack_wait"]
    if same and current.max_ack_pending == spec.max_ack_pending:
        return None
    plan.changes.append(f"~ consumer {spec.stream}/{spec.name}: filters or limits")
    return lambda: js.add_consumer(spec.stream, api.ConsumerConfig(**wanted))


def consumer_config(spec: ConsumerSpec) -> dict[str, Any]:
    """The server's configuration of one durable pull consumer. Deliveries are unlimited: the chassis counts and buries."""
    one = len(spec.filters) == 1
    return {
        "durable_name": spec.name,
        "name": spec.name,
        "ack_policy": api.AckPolicy.EXPLICIT,
        "deliver_policy": api.DeliverPolicy.ALL,
        "ack_wait": float(spec.ack_wait_s),
        "max_deliver": -1,
        "max_ack_pending": spec.max_ack_pending,
        "filter_subject": spec.filters[0] if one else None,
        "filter_subjects": None if one else list(spec.filters),
    }


def _same(current: Any, wanted: Any) -> bool:
    return bool(current == wanted) or (not current and not wanted)


def main(arguments: list[str] | None = None) -> int:
    """``python -m chassis.provision``: exit 0 when everything is as declared, 1 when the bus is away, 2 when a person must decide."""
    parser = argparse.ArgumentParser(
        prog="chassis.provision", description="Create the JetStream streams and consumers of Aircheck."
    )
    parser.add_argument(
        "--url", default=os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), help="NATS address [env NATS_URL]"
    )
    parser.add_argument(
        "--replicas",
        type=int,
        default=int(os.environ.get("NATS_REPLICAS", "1")),
        help="copies of file streams (3 in a cluster)",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would change and change nothing")
    options = parser.parse_args(arguments)
    try:
        plan = asyncio.run(_provision_at(options.url, options.dry_run, options.replicas))
    except Drift as drift:
        sys.stderr.write(f"refused: {drift}\nDelete or rename the stream by hand, or restore the declaration.\n")
        return 2
    except TimeoutError:
        sys.stderr.write(f"no answer from the bus within {CONNECT_S:g} s\n")
        return 1
    sys.stdout.write("\n".join(plan.changes or ["everything is as declared"]) + "\n")
    return 0


async def _provision_at(url: str, dry_run: bool, replicas: int) -> Plan:
    user = os.environ.get("NATS_USER", "")
    options = connection_options(url, access.PROVISIONER, user=user, password=os.environ.get("NATS_PASSWORD", ""))
    del options["disconnected_cb"]  # the one at its own end is nothing to warn of
    async with asyncio.timeout(CONNECT_S):
        client = await nats.connect(**options)
    try:
        return await provision(client.jetstream(timeout=10), dry_run=dry_run, replicas=replicas)
    finally:
        await client.close()


if __name__ == "__main__":
    sys.exit(main())

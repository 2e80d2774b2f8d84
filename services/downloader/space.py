"""When a disk is low, and what is told of it; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from contracts.aggregate import Aggregate
from contracts.downloader import DiskLow, DiskRecovered, DiskUnavailable
from contracts.message import Event

MEGABYTE = 1_000_000
MARGIN = 0.2
"""A threshold is left again when this share more than it is free: recordings must not stop and start around it."""
Level = Literal["ok", "warn", "stop", "unavailable"]


@dataclass(frozen=True, slots=True)
class Threshold:
    """Free space that is wanted: MB and percent of the disk, whichever is more; 0 is none."""

    mb: int = 0
    percent: float = 0.0

    def bytes_of(self, total: int) -> int:
        """In bytes, on a disk of this size."""
        return round(max(self.mb * MEGABYTE, total * self.percent / 100))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Below ``warn`` it is told, below ``stop`` nothing more begins."""

    warn: Threshold
    stop: Threshold

    def floor(self, total: int) -> int:
        """Below this running recordings end their files while there is room to do that."""
        return self.stop.bytes_of(total) // 2


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the folder found; ``reason`` says why it cannot be used."""

    free: int = 0
    total: int = 0
    reason: str = ""


def level_of(seen: Seen, thresholds: Thresholds, before: Level) -> Level:
    """How it stands now, given how it stood before."""
    if seen.reason:
        return "unavailable"
    stop, warn = thresholds.stop.bytes_of(seen.total), thresholds.warn.bytes_of(seen.total)
    if seen.free < stop or (before == "stop" and seen.free < stop * (1 + MARGIN)):
        return "stop"
    if seen.free < warn or (before in ("warn", "stop") and seen.free < warn * (1 + MARGIN)):
        return "warn"
    return "ok"


def refusal(seen: Seen, level: Level) -> str:
    """Why nothing may begin; empty when it may."""
    if level == "unavailable":
        return seen.reason
    return f"only {seen.free // MEGABYTE} MB are free" if level == "stop" else ""


@dataclass(frozen=True, slots=True)
class Disk:
    """What was told of a replica's disk last."""

    level: Level = "ok"
    reason: str = ""


def evolve_disk(state: Disk, event: Event) -> Disk:
    """The disk after an event."""
    match event:
        case DiskLow():
            return Disk(event.level)
        case DiskUnavailable():
            return Disk("unavailable", event.reason)
        case DiskRecovered():
            return Disk()
    return state


DISK = Aggregate("disk", Disk(), evolve_disk)


def decide_disk(state: Disk, worker: str, seen: Seen, level: Level) -> list[Event]:
    """Tell of a change, once."""
    if Disk(level, seen.reason if level == "unavailable" else "") == state:
        return []
    match level:
        case "ok":
            return [DiskRecovered(worker=worker, free_bytes=seen.free, total_bytes=seen.total)]
        case "unavailable":
            return [DiskUnavailable(worker=worker, reason=seen.reason)]
        case "warn" | "stop":
            return [DiskLow(worker=worker, level=level, free_bytes=seen.free, total_bytes=seen.total)]

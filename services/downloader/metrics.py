"""What an operator sees of the recordings of this replica, besides their events."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SLOTS = Gauge(
    "aircheck_recording_slots", "Recordings that may run at a time, and those beyond for high priority.", ["kind"]
)
QUEUED = Histogram(
    "aircheck_recording_queued_seconds",
    "How long recordings waited for a slot.",
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200),
)
RUNNING = Gauge("aircheck_recordings_running", "Recordings in hand.")
STANDBYS = Gauge("aircheck_recording_standbys", "Recordings of other replicas whose media is held here.")
BYTES = Counter("aircheck_recorded_bytes_total", "Bytes of media written.")
SEGMENTS = Counter("aircheck_segments_total", "Files by what became of them.", ["outcome"])
GAPS = Counter("aircheck_recording_gaps_total", "Breaks of a source.")
DISK = Gauge(
    "aircheck_recordings_disk_level", "0: enough room, 1: little, 2: none for more, 3: the folder cannot be used."
)
BREAKERS = Gauge("aircheck_engine_breakers_open", "Engine configurations that are left alone for a while.", ["engine"])
FREE = Gauge("aircheck_recordings_free_bytes", "Free space where media is written.")

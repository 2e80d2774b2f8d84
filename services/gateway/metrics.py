"""What the gateway measures beyond what every service does."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

STORED = Counter("aircheck_store_events_total", "Events appended to the event store.")
STORE_POSITION = Gauge("aircheck_store_position", "The last position of the event store.")
STORE_BATCH = Histogram(
    "aircheck_store_batch_size", "Events in one ingested batch.", buckets=(1, 10, 50, 100, 250, 500, 1000)
)
INGEST_SECONDS = Histogram("aircheck_store_ingest_seconds", "Time to store and project one batch.")
PROJECTION_LAG = Histogram(
    "aircheck_projection_lag_seconds",
    "Time from the append of an event in its service to its visibility in the read models.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 600),
)
PARKED = Gauge("aircheck_store_parked_events", "Events that wait for a missing version of their stream.")
GAPS = Counter("aircheck_store_gaps_total", "Requests to a service to publish a missing range again.", ["service"])
FAILED = Gauge("aircheck_projection_failed", "1 while a read model is not kept up to date.", ["name"])
REQUESTS = Counter("aircheck_http_requests_total", "HTTP requests.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram("aircheck_http_request_seconds", "Time to answer.", ["method", "route"])
STREAMS = Gauge("aircheck_http_streams", "Open event streams and WebSockets.", ["kind"])
DROPPED = Counter("aircheck_http_streams_dropped_total", "Streams that were ended because the client was too slow.")

"""How every service runs: event log, outbox, relay, inbox, handlers, leases, telemetry, health."""

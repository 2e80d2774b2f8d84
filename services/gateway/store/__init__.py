"""The gateway's own tables: the event store, accounts, idempotency keys, and the queries of the read models."""

"""Chat beside video: one message type for every platform, the log that is the source of truth, and every format made from it."""

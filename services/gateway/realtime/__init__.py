"""What is pushed: the tail of the event store, signals, chat, and the outcome of commands."""

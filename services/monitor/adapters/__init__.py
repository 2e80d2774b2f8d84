"""How the monitor asks platforms whether a channel is live."""

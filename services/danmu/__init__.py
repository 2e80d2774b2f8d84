"""The chat service: one chat connection per session, written to files that are cut at the recording's segment boundaries."""

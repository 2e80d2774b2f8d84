"""Programs around other projects' libraries: each runs in a process of its own, confined, and gets its work on standard input."""

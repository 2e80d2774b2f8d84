"""Pipeline: runs of post-processing jobs, and the end of a session's work."""

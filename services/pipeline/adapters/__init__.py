"""The outside world of the pipeline: programs, files, and one processor per file."""

"""How a job fails, by what follows from it."""

from __future__ import annotations


class ProcessingError(Exception):
    """A job did not succeed. ``fatal``: repeating does not help."""

    fatal = False


class ProcessingRefused(ProcessingError):
    """The options, the input or the settings do not allow it, or the result is not what it should be."""

    fatal = True


class ProcessingInterrupted(ProcessingError):
    """Something failed that may pass: the disk is full, the store does not answer, the program was killed."""

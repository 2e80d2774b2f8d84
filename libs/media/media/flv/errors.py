"""Errors of the FLV package."""

from __future__ import annotations


class FlvError(ValueError):
    """The bytes are not FLV, or not in a form that can be read or recovered."""


class AmfError(FlvError):
    """An AMF0 value is malformed, too deep or too large."""

"""Identifiers: UUID version 7 (RFC 9562), whose order is the order of their making."""

from __future__ import annotations

from uuid import UUID

import uuid_utils
from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """A new message id."""
    return uuid7()


def new_bytes() -> bytes:
    """The 16 bytes of a new message id, in one order with those of :func:`new_id`."""
    return uuid_utils.uuid7().bytes


def new_key() -> str:
    """A new aggregate id: 32 lower-case hexadecimal digits, fit for subjects, paths and addresses."""
    return uuid7().hex

"""Argon2id (RFC 9106), off the event loop and a few at a time: each hash takes tens of MiB and tens of milliseconds.

Default cost as in the OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane.
"""

from __future__ import annotations

import asyncio
import ctypes
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

CONCURRENT = 2
_M_MMAP_THRESHOLD = -3  # mallopt(3)
_MAPPED_FROM_BYTES = 4 << 20


class Passwords:
    """Hashes and verifies passwords."""

    def __init__(self, *, memory_kib: int = 19_456, time_cost: int = 2) -> None:
        _return_large_blocks()
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._slots = asyncio.Semaphore(CONCURRENT)
        # Verified when there is no such user, so that the answer takes as long as for one who exists.
        self._nobody = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """The encoded hash of a password, with its parameters and a fresh salt."""
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Whether a password is the one that was hashed; takes the same time when there is no hash."""
        async with self._slots:
            return await asyncio.to_thread(self._verify, encoded, password)

    def outdated(self, encoded: str) -> bool:
        """Whether the hash was made with other costs than today's."""
        return self._hasher.check_needs_rehash(encoded)

    def _verify(self, encoded: str | None, password: str) -> bool:
        try:
            self._hasher.verify(encoded or self._nobody, password)
        except (Argon2Error, InvalidHashError):
            return False
        return encoded is not None


def _return_large_blocks() -> None:
    """Have glibc give the memory of a hash back to the system when it is done.

    By default the first large block that is freed raises the size from which blocks are mapped on their own, and the next ones stay in the heap:
    20 MB for each thread that has ever hashed a password. Source: M_MMAP_THRESHOLD in mallopt(3).
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)

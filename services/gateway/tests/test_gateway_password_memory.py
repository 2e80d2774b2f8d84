"""What hashing passwords leaves behind in memory."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

GROWN = """
import asyncio, re
from services.gateway.adapters.passwords import Passwords

def resident_mb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1000

async def log_in_often():
    passwords = Passwords()
    encoded = await passwords.hash("correct")
    before = resident_mb()
    for _ in range(3):
        assert await passwords.verify(encoded, "correct")
    await asyncio.gather(*(passwords.verify(encoded, "wrong") for _ in range(4)))
    print(before, resident_mb() - before)

first = resident_mb()
asyncio.run(log_in_often())
print(first)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is glibc's")
def test_the_memory_of_a_hash_is_given_back() -> None:
    # when: in a process of its own, whose allocator has seen no large block yet
    out = subprocess.run([sys.executable, "-c", GROWN], check=True, stdout=subprocess.PIPE, timeout=60)
    after_one, grown, first = map(float, out.stdout.split())
    # then: a hash takes 19 MiB while it is made, and none of it stays
    assert after_one - first < 10
    assert grown < 10

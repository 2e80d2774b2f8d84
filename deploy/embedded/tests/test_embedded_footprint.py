"""The memory report: a page that two processes share counts once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy.embedded.footprint import footprint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc/PID/smaps_rollup is Linux's")
SIZE = 64 * 1024 * 1024
HOLD_SHARED_PAGES = f"""
import mmap, os, sys
pages = mmap.mmap(-1, {SIZE})
for offset in range(0, {SIZE}, mmap.PAGESIZE):
    pages[offset] = 1
child = os.fork()
for offset in range(0, {SIZE}, mmap.PAGESIZE):
    pages[offset]
if child == 0:
    print("ready", flush=True)
sys.stdin.read()
if child:
    os.waitpid(child, 0)
"""
GROW = f"""
import mmap, sys
print("small", flush=True)
sys.stdin.readline()
pages = mmap.mmap(-1, {SIZE})
for offset in range(0, {SIZE}, mmap.PAGESIZE):
    pages[offset] = 1
print("grown", flush=True)
sys.stdin.read()
"""


def test_a_shared_page_counts_once_in_the_total() -> None:
    # given: two processes that map the same 64 MiB
    argv = [sys.executable, "-c", HOLD_SHARED_PAGES]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        # when
        report = footprint(process.pid)
        resident = sum(psutil.Process(member.pid).memory_info().rss for member in report.processes)
        process.communicate()
    # then
    assert len(report.processes) == 2
    assert resident > 2 * SIZE
    assert SIZE < report.total_bytes < resident - SIZE // 2
    assert sum(report.by_name().values()) == report.total_bytes


def test_memory_that_grows_is_seen() -> None:
    # given: a process that does nothing else, as this one and its children do
    argv = [sys.executable, "-c", GROW]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"small\n"
        before = footprint(process.pid).total_bytes
        # when
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"grown\n"
        after = footprint(process.pid).total_bytes
        process.communicate()
    # then
    assert after - before > SIZE * 9 // 10


def test_trees_that_overlap_count_once() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        pids = [process.pid for process in footprint(os.getpid(), child.pid).processes]
        child.communicate(b"\n")
    assert sorted(pids) == sorted(set(pids))
    assert child.pid in pids


def test_a_process_that_does_not_run_is_an_error() -> None:
    # the number that no process gets: proc_sys_kernel(5)
    beyond = int(Path("/proc/sys/kernel/pid_max").read_text())
    with pytest.raises(psutil.NoSuchProcess):
        footprint(beyond)

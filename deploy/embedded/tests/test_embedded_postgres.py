"""The embedded PostgreSQL: first start, life, death, what an earlier crash left, and who runs it."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.embedded import postgres_server
from deploy.embedded.postgres_config import PostgresTuning
from deploy.embedded.postgres_server import PostgresServer
from deploy.embedded.process import EngineError, PortTakenError, is_alive, wait_until_dead
from deploy.embedded.tests.crash import orphan, supervisor, until
from tests.deadline import DEADLINE_S as DEADLINE

pytestmark = pytest.mark.engines
FAST = PostgresTuning(fsync=False)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change its user")


@pytest.fixture
def server(folder: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(folder / "postgres", tuning=FAST)
    yield server
    if server.running:
        server.stop()


@pytest.fixture
def reachable() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="aircheck reachable "))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


async def query(dsn: str, *statements: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=DEADLINE)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()


def tree(pid: int) -> list[psutil.Process]:
    postmaster = psutil.Process(pid)
    return [postmaster, *postmaster.children(recursive=True)]


def command_line(process: psutil.Process) -> list[str]:
    """Nothing of one that has just ended, such as that of a connection."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def pid_of(server: PostgresServer) -> int:
    assert server.pid is not None
    return server.pid


async def test_a_commit_survives_sigkill_of_the_whole_server(server: PostgresServer) -> None:
    # given
    server.start()
    port, dsn = server.port, server.admin_dsn
    await query(dsn, "create table kept (value int)", "insert into kept values (42) returning value")
    processes = tree(pid_of(server))
    # when
    server.kill()
    alive = [process for process in processes if is_alive(process)]
    server.restart()
    # then
    assert alive == []
    assert (server.port, server.admin_dsn) == (port, dsn)
    assert await query(dsn, "select value from kept") == 42


async def test_stop_ends_every_process_and_open_connections(server: PostgresServer) -> None:
    server.start()
    processes = tree(pid_of(server))
    connection = await asyncpg.connect(server.admin_dsn)
    closed = asyncio.Event()
    connection.add_termination_listener(lambda _: closed.set())
    await asyncio.to_thread(server.stop)
    async with asyncio.timeout(DEADLINE):
        await closed.wait()
    assert wait_until_dead(processes, DEADLINE) == []
    assert not server.running
    server.stop()


async def test_only_the_generated_password_opens_the_server(server: PostgresServer) -> None:
    # given
    server.start()
    password_file = server.folder / "superuser.password"
    password = password_file.read_text().strip()
    # then
    assert len(password) >= 32
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.dsn("postgres", "postgres", "wrong"), timeout=DEADLINE)
    stored = await query(server.admin_dsn, "select rolpassword from pg_authid where rolname = 'postgres'")
    assert str(stored).startswith("SCRAM-SHA-256$")
    shown = [word for process in tree(pid_of(server)) for word in command_line(process)]
    assert str(server.cluster) in shown
    assert not any(password in word for word in shown)
    # and it stays the same
    server.restart()
    assert password_file.read_text().strip() == password


async def test_it_listens_on_loopback_only_and_has_no_unix_socket(server: PostgresServer) -> None:
    server.start()
    listening = [c for c in psutil.Process(pid_of(server)).net_connections() if c.status == psutil.CONN_LISTEN]
    assert [(c.laddr.ip, c.laddr.port) for c in listening] == [("127.0.0.1", server.port)]
    assert await query(server.admin_dsn, "show unix_socket_directories") == ""


async def test_the_cluster_is_tuned_small_and_safe(folder: Path) -> None:
    server = PostgresServer(folder / "postgres", tuning=PostgresTuning(shared_buffers=16, max_connections=30))
    server.start()
    try:
        expected = {
            "shared_buffers": "16MB",
            "max_connections": "30",
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
            "data_checksums": "on",
            "jit": "off",
            "server_encoding": "UTF8",
            "TimeZone": "UTC",
        }
        shown = {name: await query(server.admin_dsn, f"show {name}") for name in expected}
        assert shown == expected
    finally:
        server.stop()


async def test_an_unsynced_cluster_still_writes_each_commit_through(server: PostgresServer) -> None:
    server.start()
    assert await query(server.admin_dsn, "show fsync") == "off"
    assert await query(server.admin_dsn, "show synchronous_commit") == "on"


def test_a_taken_port_is_named(server: PostgresServer) -> None:
    server.start()
    server.stop()
    with socket.create_server(("127.0.0.1", server.port)), pytest.raises(PortTakenError, match=str(server.port)):
        server.start()
    assert not server.running


async def test_an_initialisation_that_was_cut_short_starts_over(server: PostgresServer) -> None:
    unfinished = server.folder / "cluster.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    server.start()
    assert await query(server.admin_dsn, "select 1") == 1
    assert not unfinished.exists()


def test_a_cluster_that_cannot_start_says_why(server: PostgresServer) -> None:
    server.start()
    server.stop()
    (server.cluster / "global" / "pg_control").unlink()
    with pytest.raises(EngineError, match="pg_control"):
        server.start()
    assert not server.running


def test_two_processes_do_not_share_a_folder(server: PostgresServer) -> None:
    # given
    server.start()
    program = (
        "import sys; from pathlib import Path; from deploy.embedded.postgres_server import PostgresServer;"
        "PostgresServer(Path(sys.argv[1])).start()"
    )
    # when
    argv = [sys.executable, "-c", program, str(server.folder)]
    second = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE, check=False)
    # then
    assert second.returncode == 1
    assert "is in use by another running process" in second.stderr
    assert server.running


@pytest.mark.chaos
async def test_a_server_left_by_a_crash_is_stopped_and_its_data_kept(server: PostgresServer) -> None:
    # given
    server.start()
    await query(server.admin_dsn, "create table kept (value int)", "insert into kept values (7) returning value")
    server.stop()
    left = psutil.Process(orphan(as_server_user(server, postgres_argv(server))))
    await until(lambda: is_ready(server))
    # when
    server.start()
    # then
    assert not is_alive(left)
    assert await query(server.admin_dsn, "select value from kept") == 7


def test_a_process_that_reuses_the_pid_of_a_crashed_server_is_left_alone(server: PostgresServer) -> None:
    # given
    server.start()
    server.kill()
    stranger = psutil.Popen(["sleep", "600"])
    try:
        pid_file = server.cluster / "postmaster.pid"
        _, *rest = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(stranger.pid), *rest]) + "\n")
        # when
        server.restart()
        # then
        assert is_alive(stranger)
        assert server.running
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.chaos
async def test_children_of_a_postmaster_that_was_killed_do_not_stop_the_next_start(server: PostgresServer) -> None:
    # given: a backend that is busy, and so does not notice the death of its postmaster
    server.start()
    connection = await asyncpg.connect(server.admin_dsn)
    busy = asyncio.create_task(connection.execute("select pg_sleep(600)"))
    backend = psutil.Process(connection.get_server_pid())
    backend.suspend()
    # when
    psutil.Process(pid_of(server)).kill()
    server.restart()
    # then
    assert not is_alive(backend)
    assert await query(server.admin_dsn, "select 1") == 1
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await busy
    await connection.close()


@pytest.mark.chaos
def test_engines_end_when_the_process_that_started_them_is_killed(folder: Path) -> None:
    # given
    with supervisor(folder) as (process, pids):
        engines = [member for pid in pids for member in tree(pid)]
        assert len(engines) > 2
        # when
        process.kill()
        process.wait(DEADLINE)
    # then
    assert wait_until_dead(engines, DEADLINE) == []
    # and the folders can be used again at once
    server = PostgresServer(folder / "postgres")
    server.start()
    server.stop()


@needs_root
def test_root_runs_it_without_privileges_in_a_folder_that_others_cannot_reach(server: PostgresServer) -> None:
    before = {path: path.stat().st_mode for path in server.folder.parents}
    server.start()
    status = Path(f"/proc/{server.pid}/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    assert int(effective, 16) == 0
    assert {path: path.stat().st_mode for path in server.folder.parents} == before


@needs_root
async def test_root_hands_a_reachable_folder_to_an_unprivileged_account(reachable: Path) -> None:
    server = PostgresServer(reachable / "postgres", tuning=FAST)
    try:
        # when
        server.start()
        # then
        owner = server.cluster.stat().st_uid
        assert owner != 0
        assert pwd.getpwuid(owner).pw_name in {"postgres", "nobody"}
        assert psutil.Process(server.pid).uids().effective == owner
        assert await query(server.admin_dsn, "select 1") == 1
        # and it stays with that account, also after a crash
        server.kill()
        server.restart()
        assert psutil.Process(server.pid).uids().effective == owner
    finally:
        server.stop()


def postgres_argv(server: PostgresServer) -> list[str]:
    return [str(postgres_server.program("postgres")), "-D", str(server.cluster)]


def as_server_user(server: PostgresServer, argv: list[str]) -> list[str]:
    """PostgreSQL refuses root: root enters the user namespace that the server would have entered."""
    if os.geteuid() != 0:
        return argv
    account = pwd.getpwnam("nobody").pw_uid
    return ["unshare", "--user", f"--map-user={account}", f"--map-group={account}", "--", *argv]


def is_ready(server: PostgresServer) -> bool:
    pid_file = server.cluster / "postmaster.pid"
    return pid_file.exists() and pid_file.read_text().rstrip().endswith("ready")

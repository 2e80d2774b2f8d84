"""The embedded NATS server: life, death, the rights of its users, what an earlier crash left."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import nats
import nats.errors
import psutil
import pytest
from nats.aio.client import Client

from deploy.embedded import nats_server
from deploy.embedded.nats_config import NatsConfig, NatsLimits, NatsUser
from deploy.embedded.nats_server import NatsServer, nats_binary, read_info
from deploy.embedded.ports import free_port
from deploy.embedded.process import EngineError, PortTakenError, is_alive
from deploy.embedded.tests.crash import orphan, until
from tests.deadline import DEADLINE_S as DEADLINE

pytestmark = pytest.mark.engines
# bcrypt, cost 4, of "open sesame".
BCRYPT = "$2a$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy"


@pytest.fixture
def server(folder: Path) -> Iterator[NatsServer]:
    server = NatsServer(folder / "nats")
    yield server
    server.stop()


async def connect(url: str, **options: str) -> Client:
    async def ignore(_: Exception) -> None: ...

    client = Client()
    try:
        await client.connect(url, connect_timeout=DEADLINE, allow_reconnect=False, error_cb=ignore, **options)
    except nats.errors.Error:
        # nats-py leaves the socket of a refused connection open.
        await client.close()
        raise
    return client


async def store(url: str, payload: bytes) -> None:
    client = await connect(url)
    await client.jetstream(timeout=DEADLINE).add_stream(name="KEPT", subjects=["kept.>"])
    await client.jetstream(timeout=DEADLINE).publish("kept.one", payload)
    await client.close()


async def stored(url: str) -> bytes | None:
    client = await connect(url)
    message = await client.jetstream(timeout=DEADLINE).get_last_msg("KEPT", "kept.one")
    await client.close()
    return message.data


async def test_a_started_server_keeps_what_it_acknowledged_through_sigkill(server: NatsServer) -> None:
    # given
    server.start()
    port = server.port
    await store(server.url, b"acknowledged")
    # when
    server.kill()
    was_running = server.running
    server.restart()
    # then
    assert not was_running
    assert server.port == port
    assert await stored(server.url) == b"acknowledged"


def test_stop_ends_the_process_and_frees_the_port(server: NatsServer) -> None:
    server.start()
    process = psutil.Process(server.pid)
    server.stop()
    assert not process.is_running()
    assert read_info(server.port) == {}
    assert server.pid is None


def test_start_and_stop_may_be_repeated(server: NatsServer) -> None:
    server.start()
    pid = server.pid
    server.start()
    assert server.pid == pid
    server.stop()
    server.stop()


async def test_wipe_forgets_every_stream_and_refuses_a_running_server(server: NatsServer) -> None:
    server.start()
    await store(server.url, b"gone")
    with pytest.raises(EngineError, match="not wiped"):
        server.wipe()
    server.stop()
    server.wipe()
    server.start()
    client = await connect(server.url)
    assert await client.jetstream(timeout=DEADLINE).streams_info() == []
    await client.close()


def test_passwords_are_in_a_private_file_and_not_in_the_command_line(folder: Path) -> None:
    server = NatsServer(folder / "nats", users=[NatsUser("monitor", "very-secret-word")])
    server.start()
    try:
        command = psutil.Process(server.pid).cmdline()
        environment = psutil.Process(server.pid).environ()
    finally:
        server.stop()
    assert "very-secret-word" in server.config_path.read_text()
    assert stat.S_IMODE(server.config_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert not any("very-secret-word" in text for text in [*command, *environment.values()])
    assert "very-secret-word" not in server.log_path.read_text()


async def test_a_user_may_do_what_it_was_given_and_nothing_else(folder: Path) -> None:
    # given
    awkward = "p$\"#\\ {x}: 'é'"
    writer = NatsUser("writer", awkward, publish=["evt.writer.>"], subscribe=[])
    reader = NatsUser("reader", "r", publish=[], subscribe=["evt.>"])
    server = NatsServer(folder / "nats", users=[writer, reader])
    server.start()
    try:
        refused: asyncio.Queue[str] = asyncio.Queue()

        async def on_error(error: Exception) -> None:
            await refused.put(str(error).lower())

        options = {"error_cb": on_error, "allow_reconnect": False, "connect_timeout": DEADLINE}
        as_writer = await nats.connect(server.url, user="writer", password=awkward, **options)
        as_reader = await nats.connect(server.url_for(reader), **options)
        subscription = await as_reader.subscribe("evt.>")
        await as_reader.flush(DEADLINE)
        # when / then: what is allowed arrives
        await as_writer.publish("evt.writer.one", b"1")
        assert (await subscription.next_msg(DEADLINE)).data == b"1"
        # when / then: what is not is refused
        await as_writer.publish("evt.other.one", b"2")
        assert "evt.other.one" in await asyncio.wait_for(refused.get(), DEADLINE)
        await as_reader.publish("evt.reader.one", b"3")
        assert "evt.reader.one" in await asyncio.wait_for(refused.get(), DEADLINE)
        await as_writer.subscribe("evt.writer.one")
        assert "subscription" in await asyncio.wait_for(refused.get(), DEADLINE)
        await as_writer.close()
        await as_reader.close()
    finally:
        server.stop()


async def test_strangers_and_wrong_passwords_are_refused_and_a_bcrypt_hash_is_a_password(folder: Path) -> None:
    server = NatsServer(folder / "nats", users=[NatsUser("hashed", BCRYPT)])
    server.start()
    try:
        client = await connect(server.url, user="hashed", password="open sesame")
        assert client.is_connected
        await client.close()
        for wrong in ({}, {"user": "hashed", "password": "wrong"}, {"user": "hashed", "password": BCRYPT}):
            with pytest.raises(nats.errors.Error, match="Authorization Violation"):
                await connect(server.url, **wrong)
    finally:
        server.stop()


def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = NatsServer(folder / "nats", port=port)
        with pytest.raises(PortTakenError, match=str(port)):
            server.start()
        assert not server.running


def test_another_server_that_was_faster_on_the_port_is_not_taken_for_ours(
    server: NatsServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: a server that binds between another one's look at the port and its bind
    server.start()
    monkeypatch.setattr(nats_server, "port_is_free", lambda _: True)
    late = NatsServer(folder / "late", port=server.port)
    # when
    with pytest.raises(PortTakenError, match=str(server.port)):
        late.start()
    # then
    assert not late.running
    assert server.running


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    server = NatsServer(folder / "nats", users=[NatsUser("twice", "a"), NatsUser("twice", "b")])
    server.folder.mkdir(parents=True)
    (server.folder / "jetstream").write_text("a file where a folder must be")
    with pytest.raises(EngineError, match="its log ends with"):
        server.start()
    assert not server.running


@pytest.mark.chaos
async def test_a_server_left_by_a_crash_is_stopped_and_its_data_kept(server: NatsServer) -> None:
    # given
    server.start()
    await store(server.url, b"kept")
    server.stop()
    left = psutil.Process(orphan([str(nats_binary()), "--config", str(server.config_path)]))
    await until(lambda: pid_in(server) == left.pid)
    # when
    server.start()
    # then
    assert not is_alive(left)
    assert await stored(server.url) == b"kept"


def pid_in(server: NatsServer) -> int | None:
    try:
        return int((server.folder / "nats.pid").read_text())
    except (FileNotFoundError, ValueError):
        return None


def test_a_process_that_reuses_the_pid_of_a_crashed_server_is_left_alone(server: NatsServer) -> None:
    # given
    server.start()
    server.kill()
    stranger = psutil.Popen(["sleep", "600"])
    try:
        (server.folder / "nats.pid").write_text(str(stranger.pid))
        # when
        server.restart()
        # then
        assert is_alive(stranger)
        assert server.running
    finally:
        stranger.kill()
        stranger.wait()


def test_two_servers_of_one_process_do_not_share_a_folder(server: NatsServer) -> None:
    server.start()
    with pytest.raises(EngineError, match="already in use"):
        NatsServer(server.folder).start()
    assert server.running


def test_a_server_started_by_a_thread_outlives_the_thread(server: NatsServer) -> None:
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join(DEADLINE)
    # The signal of a dying parent thread would be on its way now: the answer to the next one proves that it is not.
    assert read_info(server.port, timeout=DEADLINE)["jetstream"]
    with pytest.raises(psutil.TimeoutExpired):
        psutil.Process(server.pid).wait(0.5)


def test_a_monitoring_port_answers_on_loopback(folder: Path) -> None:
    monitoring = free_port()
    server = NatsServer(folder / "nats", monitoring_port=monitoring)
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", monitoring), DEADLINE) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert b'"status":"ok"' in connection.makefile("rb").read()
    finally:
        server.stop()


async def test_limits_and_syncing_reach_the_server(folder: Path) -> None:
    limits = NatsLimits(max_memory_bytes=3_000_000, max_file_bytes=5_000_000, max_payload_bytes=4_096)
    server = NatsServer(folder / "nats", limits=limits, sync_always=True)
    server.start()
    try:
        client = await connect(server.url)
        assert client.max_payload == 4_096
        streams = client.jetstream(timeout=DEADLINE)
        with pytest.raises(nats.js.errors.APIError, match="insufficient"):
            await streams.add_stream(name="BIG", subjects=["big"], max_bytes=5_000_001)
        with pytest.raises(nats.js.errors.APIError, match="insufficient"):
            await streams.add_stream(name="BIG", subjects=["big"], max_bytes=3_000_001, storage="memory")
        await client.close()
    finally:
        server.stop()
    assert '"sync_interval": "always"' in server.config_path.read_text()


def test_credentials_that_a_url_cannot_carry_are_refused(server: NatsServer) -> None:
    server.start()
    assert server.url_for(NatsUser("a", "b-_.~9")) == f"nats://a:b-_.~9@127.0.0.1:{server.port}"
    for user in (NatsUser("a", "with@sign"), NatsUser("with space", "b"), NatsUser("a", "50%41")):
        with pytest.raises(ValueError, match="does not fit into a URL"):
            server.url_for(user)


def test_control_characters_are_refused() -> None:
    config = NatsConfig("name", "127.0.0.1", 4222, Path("/store"), users=[NatsUser("a", "line\nbreak")])
    with pytest.raises(ValueError, match="control character"):
        config.render()
    # A backslash followed by a letter is no control character.
    assert "line" in NatsConfig("name", "127.0.0.1", 4222, Path("/s"), users=[NatsUser("a", "line\\n")]).render()


def test_something_else_on_the_port_is_not_taken_for_nats() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def answer() -> None:
            connection, _ = stranger.accept()
            with connection:
                connection.sendall(b"220 smtp\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert read_info(stranger.getsockname()[1]) == {}
        thread.join(DEADLINE)


def test_sigterm_from_outside_is_seen(server: NatsServer) -> None:
    server.start()
    process = psutil.Process(server.pid)
    os.kill(process.pid, signal.SIGTERM)
    process.wait(DEADLINE)
    assert not server.running

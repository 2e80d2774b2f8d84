"""The uploader is killed in the middle of a file: another process goes on where it was, and what arrives is whole."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from contracts.uploader import StartUpload
from contracts.values import Artifact

from tests.integration.harness import connection, eventually, wire

pytestmark = [pytest.mark.engines, pytest.mark.chaos]
MIB = 1 << 20
SIZE = 128 * MIB
SEEN = 32 * MIB
"""What has arrived when the process is killed: from there on it cannot say how far it is, and goes no further."""
_HELD = 0x48454C44
_HOLD = f"""
create function hold() returns trigger language plpgsql as $$ begin
  if (new.state->>'sent')::bigint > {SEEN} then perform pg_advisory_xact_lock({_HELD}); end if; return new; end $$;
create trigger hold before insert or update on progress for each row execute function hold()
"""


@asynccontextmanager
async def uploader(environment: dict[str, str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """One ``python -m services.uploader``."""
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.uploader", env={**os.environ, **environment}, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def recording(path: Path) -> Artifact:
    """A file without holes whose pieces all differ, so that one in the wrong place is noticed."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for number in range(SIZE // MIB):
            piece = number.to_bytes(4, "big") * (MIB // 4)
            digest.update(piece)
            file.write(piece)
    return Artifact(uri=path.as_uri(), media_type="video/mp4", size=SIZE, sha256=digest.hexdigest())


async def test_a_killed_upload_goes_on_where_it_was_and_arrives_whole(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    source, target = recording(tmp_path / "a.mp4"), bucket / "day" / "a.mp4"
    environment = {
        "UPLOADER_DATABASE_DSN": postgres_dsn,
        "UPLOADER_NATS_URL": nats_url,
        "UPLOADER_ROOTS": json.dumps([bucket.as_uri()]),
    }

    @asynccontextmanager
    async def held() -> AsyncIterator[None]:
        async with connection(postgres_dsn) as database:
            await eventually(lambda: database.fetchval("select to_regclass('progress') is not null"), "it has begun")
            await database.execute("select pg_advisory_lock($1)", _HELD)
            await database.execute(_HOLD)
            yield
            # What the dead process had begun to write is not written when the hold ends.
            await database.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'aircheck-uploader'"
            )
            await database.execute("drop trigger hold on progress")

    async def sent() -> Any:
        async with connection(postgres_dsn) as database:
            return await database.fetchval("select (state->>'sent')::bigint from progress")

    async with wire(nats_url) as on:
        async with uploader(environment, tmp_path / "first.log") as doomed, held():
            await on.send(StartUpload(upload_id="u1", session_id="s", source=source, destination=target.as_uri()))

            async def some() -> bool:
                return await sent() == SEEN

            await eventually(some, f"{SEEN} bytes have arrived")
            doomed.send_signal(signal.SIGKILL)
            assert await doomed.wait() == -signal.SIGKILL
        assert not target.exists(), "it was killed in the middle"
        async with connection(postgres_dsn) as database:
            # what another test waits for: that a dead owner's lease expires
            await database.execute("update leases set expires_at = now()")
        async with uploader(environment, tmp_path / "second.log"):
            requested, first, again, completed = [json.loads(one.data) for one in await on.holds(4)]
        assert requested["destination"] == target.as_uri()
        assert (first["resumed_at"], again["resumed_at"]) == (0, SEEN)
        assert again["epoch"] > first["epoch"]
        assert completed["artifact"]["sha256"] == source.sha256
        with target.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == source.sha256
        assert list(target.parent.iterdir()) == [target]

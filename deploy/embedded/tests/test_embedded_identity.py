"""As whom PostgreSQL runs when root starts it."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded import identity as identities
from deploy.embedded.identity import CURRENT_USER, NoIdentityError, mapped_root, unprivileged_identity

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change its user")
PROGRAM = Path("/bin/true")


@pytest.fixture
def private() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aircheck private ") as folder:
        yield Path(folder)


def test_an_ordinary_user_stays_what_it_is(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert unprivileged_identity(PROGRAM, private / "data") is CURRENT_USER


@needs_root
def test_root_becomes_an_account_where_the_account_can_go(private: Path) -> None:
    private.chmod(0o755)
    data = private / "data"
    data.mkdir(mode=0o700)
    chosen = unprivileged_identity(PROGRAM, data)
    assert chosen.user not in {None, 0}
    chosen.own(data)
    assert data.stat().st_uid == chosen.user


@needs_root
def test_root_enters_a_user_namespace_where_no_account_can_go(private: Path) -> None:
    data = private / "data"
    data.mkdir()
    chosen = unprivileged_identity(PROGRAM, data)
    assert chosen == mapped_root()
    chosen.own(data)
    assert data.stat().st_uid == 0
    # and nothing above the folder was opened for that
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert private.stat().st_uid == 0


@needs_root
def test_inside_the_namespace_it_is_not_root_but_owns_what_root_owns(private: Path) -> None:
    private.chmod(0o700)
    script = 'id -u; touch "$0/made"; grep CapEff /proc/self/status'
    result = subprocess.run(
        ["sh", "-c", script, str(private)], capture_output=True, text=True, check=True, preexec_fn=mapped_root().enter
    )
    uid, capabilities = result.stdout.splitlines()
    assert int(uid) == mapped_root().mapped_uid != 0
    assert int(capabilities.split()[1], 16) == 0
    assert (private / "made").stat().st_uid == 0


@needs_root
def test_a_folder_stays_with_the_account_that_owns_it(private: Path) -> None:
    private.chmod(0o755)
    data = private / "data"
    data.mkdir()
    os.chown(data, 1, 1)
    assert unprivileged_identity(PROGRAM, data).user == 1


@needs_root
def test_root_without_any_way_is_told_what_to_do(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "_UNSHARE", None)
    data = private / "data"
    data.mkdir()
    with pytest.raises(NoIdentityError, match="outside private homes"):
        unprivileged_identity(PROGRAM, data)

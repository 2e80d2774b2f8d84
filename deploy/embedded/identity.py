"""As which user an engine runs when this process is root, since PostgreSQL refuses to be root."""

from __future__ import annotations

import ctypes
import os
import pwd
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

_CLONE_NEWUSER = 0x10000000  # unshare(2)
_UNSHARE = ctypes.CDLL(None, use_errno=True).unshare if sys.platform == "linux" else None
_UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")
_PROBE_TIMEOUT_SECONDS = 20


class NoIdentityError(RuntimeError):
    """Root found no way to run an engine without being root."""


@dataclass(frozen=True)
class Identity:
    """A user for a child process; the default is the user of this process.

    `user`, `group` and `extra_groups` go to `subprocess`; `enter()` is called in the child, before exec.
    """

    user: int | None = None
    group: int | None = None
    mapped_uid: int | None = None
    extra_groups: tuple[int, ...] | None = field(default=None)

    def enter(self) -> None:
        """Enter a user namespace in which this process is `mapped_uid` instead of 0, if that is the identity.

        Outside the namespace it stays the owner of root's files, so that a data folder below a private home works
        without opening any parent folder, but exec leaves it no capability. Source: user_namespaces(7).

        Raises:
            OSError: the kernel does not allow user namespaces.
        """
        if self.mapped_uid is None:
            return
        if _UNSHARE is None or _UNSHARE(_CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "no user namespace")
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{self.mapped_uid} 0 1")
        _write("/proc/self/gid_map", f"{self.mapped_uid} 0 1")

    def own(self, path: Path) -> None:
        """Give `path` to this identity."""
        if self.user is not None and self.group is not None:
            os.chown(path, self.user, self.group)


CURRENT_USER = Identity()


def unprivileged_identity(binary: Path, folder: Path) -> Identity:
    """Return an identity that is not root, can run `binary` and owns or can be given `folder` (which exists).

    A process that is not root keeps its own user. Root takes the account that owns the folder already, else the account
    `postgres` or `nobody` if it can reach both paths, else itself inside a user namespace.

    Raises:
        NoIdentityError: none of them works here.
    """
    if os.geteuid() != 0:
        return CURRENT_USER
    owner = folder.stat().st_uid
    candidates = [_account(pwd.getpwuid(owner))] if owner != 0 else [*_accounts(), _mapped()]
    for identity in candidates:
        if _reaches(identity, binary) and _reaches(identity, folder) and _can_run(identity, binary):
            return identity
    raise NoIdentityError(
        f"PostgreSQL does not run as root, no unprivileged account can reach {folder} and {binary}, and the kernel "
        "allows no user namespace: run as an ordinary user, or choose a data folder outside private homes"
    )


def mapped_root() -> Identity:
    """Return the identity of root inside a user namespace: it owns what root owns and has no capability."""
    return _mapped()


def _mapped() -> Identity:
    return Identity(mapped_uid=_first_account().pw_uid)


def _first_account() -> pwd.struct_passwd:
    """The uid inside the namespace needs a name: initdb looks it up."""
    for name in _UNPRIVILEGED_ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return next(entry for entry in pwd.getpwall() if entry.pw_uid != 0)


def _accounts() -> list[Identity]:
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return [_account(names[name]) for name in _UNPRIVILEGED_ACCOUNTS if name in names]


def _account(entry: pwd.struct_passwd) -> Identity:
    return Identity(user=entry.pw_uid, group=entry.pw_gid, extra_groups=())


def _reaches(identity: Identity, path: Path) -> bool:
    """Tell whether every parent folder of `path` may be passed; access lists are ignored, the answer is cautious."""
    if identity.user is None:
        return True
    return all(_may_pass(identity, parent) for parent in path.resolve().parents)


def _may_pass(identity: Identity, folder: Path) -> bool:
    info = folder.stat()
    if info.st_uid == identity.user:
        return bool(info.st_mode & 0o100)
    if info.st_gid == identity.group:
        return bool(info.st_mode & 0o010)
    return bool(info.st_mode & 0o001)


def _can_run(identity: Identity, binary: Path) -> bool:
    try:
        probe = subprocess.run(  # noqa: S603 - a program of ours, no shell
            [str(binary), "--version"],
            capture_output=True,
            timeout=_PROBE_TIMEOUT_SECONDS,
            check=False,
            user=identity.user,
            group=identity.group,
            extra_groups=identity.extra_groups,
            preexec_fn=identity.enter,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return probe.returncode == 0


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, text.encode())
    os.close(descriptor)

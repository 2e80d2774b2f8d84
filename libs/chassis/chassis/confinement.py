"""What another project's library may do in a process of its own: reach what the egress policy allows, and start the programs that are named.

Such a library opens its own connections, follows redirects and resolves names where none of our sessions sees it. An audit hook (PEP 578)
is asked at the moment of the connection, with the address it goes to, whoever opens it; it cannot be taken off again.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from chassis.egress import EgressPolicy, RefusedAddress

_STARTS = frozenset({"subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn"})
_SHELLS = frozenset({"os.system", "pty.spawn", "os.startfile"})
_CONNECTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


_Bound = tuple[EgressPolicy, Collection[tuple[str, int]]]
_thread = threading.local()


class RefusedConnection(RefusedAddress, OSError):
    """A connection that was refused to a thread; an OSError too, so that the library closes its socket as after any that fails."""


def confine(policy: EgressPolicy, *, proxy: tuple[str, int] | None = None, programs: Collection[str] = ()) -> None:
    """Bind this process to a policy, for ever: its connections (``proxy`` is open too), and the programs it may start, by path.

    A connection that is refused raises RefusedAddress where it is made, a program PermissionError.
    """
    open_doors = _addresses(proxy) if proxy else frozenset()

    def judge(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CONNECTS:
            _judge_connection(policy, open_doors, arguments)
        elif event == "socket.bind" and not _is_outgoing(arguments[-1]):
            raise RefusedAddress("this process listens to nobody")
        elif event in _STARTS and str(arguments[0]) not in programs:
            raise PermissionError("this process may not start programs")
        elif event in _SHELLS:
            raise PermissionError("this process may not start a shell")

    sys.addaudithook(judge)


@contextmanager
def confined_thread(policy: EgressPolicy, *, proxy: tuple[str, int] | None = None) -> Iterator[None]:
    """Bind the connections that this thread makes while the block runs, and nobody else's; those of threads it starts are not bound.

    A connection that is refused raises RefusedConnection where it is made: the address that is judged is the one that is connected to.
    """
    open_doors = _addresses(proxy) if proxy else frozenset()
    _watch_threads()
    _thread.bound = policy, open_doors
    try:
        yield
    finally:
        _thread.bound = None


@cache
def _watch_threads() -> None:
    """Once for the process: a hook cannot be taken off again."""

    def judge(event: str, arguments: tuple[Any, ...]) -> None:
        bound: _Bound | None = getattr(_thread, "bound", None) if event in _CONNECTS else None
        if bound is not None:
            try:
                _judge_connection(bound[0], bound[1], arguments)
            except RefusedAddress as error:
                raise RefusedConnection(str(error)) from None

    sys.addaudithook(judge)


def _judge_connection(
    policy: EgressPolicy, open_doors: Collection[tuple[str, int]], arguments: tuple[Any, ...]
) -> None:
    where = arguments[-1]
    if where is None:  # a datagram on a connection that was judged
        return
    if not isinstance(where, tuple) or len(where) < 2:
        raise RefusedAddress("only connections to the Internet are made here")
    if (where[0], where[1]) in open_doors:
        return
    try:
        address = ipaddress.ip_address(str(where[0]).partition("%")[0])
    except ValueError:
        raise RefusedAddress("a name was not resolved before it was connected to") from None
    if category := policy.refusal(address):
        raise RefusedAddress(f"the address is a {category} one")


def _is_outgoing(where: Any) -> bool:
    """Whether a socket is bound as before a connection of one address family: to any address, at a port of the system's choice."""
    return isinstance(where, tuple) and where[:2] in (("0.0.0.0", 0), ("::", 0))  # noqa: S104 - judged, not listened to


def _addresses(proxy: tuple[str, int]) -> frozenset[tuple[str, int]]:
    found = socket.getaddrinfo(proxy[0], proxy[1], type=socket.SOCK_STREAM)
    return frozenset((str(address[0]), proxy[1]) for *_, address in found)

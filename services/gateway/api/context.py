"""What the routers work with, wired by ``app.py``, and what they ask of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Annotated
from uuid import UUID, uuid5

from chassis.database import Pool
from chassis.egress import EgressPolicy
from chassis.health import Health
from chassis.ids import new_id, new_key
from chassis.secrets import SystemKey
from chassis.telemetry import child_of
from contracts.envelope import Metadata
from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from services.gateway.accounts import Accounts
from services.gateway.adapters.chat_logs import ChatLogs
from services.gateway.domain import Principal
from services.gateway.projections.rebuild import Rebuilt
from services.gateway.realtime.chat import Chat
from services.gateway.realtime.commands import Commands
from services.gateway.realtime.follower import Follower
from services.gateway.realtime.mailbox import Clients
from services.gateway.realtime.signals import Signals
from services.gateway.settings import GatewaySettings

_NAMESPACE = UUID("8f5d0c0e-6f5e-5b7b-9f0a-3a1d2a6f0c51")


@dataclass(frozen=True)
class Gateway:
    """The running parts of one replica."""

    settings: GatewaySettings
    pool: Pool
    accounts: Accounts
    commands: Commands
    follower: Follower
    signals: Signals
    chat: Chat
    chat_logs: ChatLogs
    clients: Clients
    health: Health
    egress: EgressPolicy
    system_key: SystemKey
    rebuild: Callable[[str], Awaitable[Rebuilt]]
    projecting: Callable[[], bool]


def gateway_of(connection: HTTPConnection) -> Gateway:
    """The parts, for a request or a WebSocket."""
    return connection.app.state.gateway  # type: ignore[no-any-return]


Parts = Annotated[Gateway, Depends(gateway_of)]


def metadata_of(request: Request) -> Metadata:
    """Where a story begins: who asked, in the trace of the caller."""
    principal: Principal | None = request.state.principal
    return Metadata(
        correlation_id=new_id(),
        traceparent=child_of(request.state.traceparent),
        actor=principal.username if principal else None,
    )


def address_of(request: Request) -> str:
    """Where a request comes from, for counting: an IPv6 address as its /64, of which one host may use every address."""
    host = request.client.host if request.client else "unknown"
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return host
    return str(address.ipv4_mapped or ip_network((address, 64), strict=False))


def repeatable_id(request: Request) -> UUID | None:
    """The id of the command of a request with an idempotency key: the same for each attempt."""
    seed = getattr(request.state, "seed", None)
    return uuid5(_NAMESPACE, f"{seed}|command") if seed else None


def fresh_key(request: Request) -> str:
    """The id of something a request creates: the same for each attempt with one idempotency key."""
    seed = getattr(request.state, "seed", None)
    return uuid5(_NAMESPACE, f"{seed}|resource").hex if seed else new_key()

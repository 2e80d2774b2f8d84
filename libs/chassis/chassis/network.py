"""Connections as the configuration of a streamer wants them: login, proxy, address family, certificates, who is asking."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from typing import Any, Protocol

import aiohttp
from contracts.values import Network
from yarl import URL

from chassis.accounts import Login
from chassis.egress import EgressPolicy, open_session, resolve_checked


class Reach(Protocol):
    """How connections of somebody are made; ``connect_timeout_s`` in seconds."""

    @property
    def policy(self) -> EgressPolicy: ...

    @property
    def network(self) -> Network: ...

    @property
    def proxy(self) -> str | None:
        """With its login."""

    @property
    def connect_timeout_s(self) -> float: ...


FAMILIES = {"any": socket.AF_UNSPEC, "4": socket.AF_INET, "6": socket.AF_INET6}


def family_of(address: str) -> socket.AddressFamily:
    """The family of an address that is written in numbers."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def judged_address(host: str, port: int, reach: Reach) -> str:
    """One address of a host, judged and of the wanted family; raises RefusedAddress, or OSError when there is none."""
    family = FAMILIES[reach.network.ip_version]
    for address in await resolve_checked(host, reach.policy, port):
        if family in (socket.AF_UNSPEC, family_of(address)):
            return address
    raise OSError("no address of the wanted family")


def proxy_of(network: Network, login: Login) -> str | None:
    """The proxy with its login, for a client's ears only."""
    if not network.proxy:
        return None
    url = URL(network.proxy)
    if login.proxy_user or login.proxy_password:
        url = url.with_user(login.proxy_user or url.user).with_password(login.proxy_password or None)
    return str(url)


def asking(network: Network) -> dict[str, str]:
    """The headers that the configuration says in place of what a client would send: Referer, User-Agent."""
    wanted = {"Referer": network.referer, "User-Agent": network.user_agent}
    return {name: value for name, value in wanted.items() if value}


def open_network_session(policy: EgressPolicy, network: Network, login: Login, **options: Any) -> aiohttp.ClientSession:
    """A guarded session (see `egress.open_session`, whose other keywords go through) under a network configuration; close it.

    The login's cookies and headers go to its domains alone, judged anew at each redirect. The configuration's Referer and User-Agent
    win over those of whoever makes the request. ValueError for a login that cannot be sent.
    """
    return open_session(
        policy,
        proxy=proxy_of(network, login),
        cookies=login.cookies if login.domains else None,
        cookie_domains=login.domains,
        family=FAMILIES[network.ip_version],
        verify_certificates=not network.allow_invalid_certificate,
        middlewares=(_reachable(network), _overriding(asking(network)), _login_headers(login)),
        **options,
    )


def _reachable(network: Network) -> aiohttp.ClientMiddlewareType:
    """OSError for a host written as an address of the unwanted family, on which aiohttp itself stumbles."""
    family = socket.AF_UNSPEC if network.proxy else FAMILIES[network.ip_version]

    async def judge(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if family != socket.AF_UNSPEC and (own := _literal_family(request.url.raw_host or "")) and own != family:
            raise OSError("no address of the wanted family")
        return await handler(request)

    return judge


def _literal_family(host: str) -> socket.AddressFamily | None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return family_of(host)


def _overriding(wanted: Mapping[str, str]) -> aiohttp.ClientMiddlewareType:
    async def override(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers.update(wanted)
        return await handler(request)

    return override


def _login_headers(login: Login) -> aiohttp.ClientMiddlewareType:
    """Adds the login's headers where they belong, and takes them off again when a redirect leads elsewhere."""

    async def add(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        covered = login.covers(request.url.raw_host or "")
        for name, value in login.headers.items():
            request.headers.pop(name, None)
            if covered:
                request.headers[name] = value
        return await handler(request)

    return add

"""How one recording reaches its sources: headers, login, proxy, address family, certificates and patience in one place."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from chassis.egress import MEDIA_READ_BUFFER, EgressPolicy, open_session, resolve_checked
from contracts.values import Network, Source
from yarl import URL

from services.downloader.adapters.engine import SourceFailed

USER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36"
)
"""Several content networks refuse clients that do not look like a browser."""

FAMILIES = {"any": socket.AF_UNSPEC, "4": socket.AF_INET, "6": socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class Login:
    """The secrets of an account, open; they go to ``domains`` and their subdomains and to nobody else."""

    domains: tuple[str, ...] = ()
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy_user: str = ""
    proxy_password: str = field(default="", repr=False)

    def covers(self, host: str) -> bool:
        """Whether a host may see this login."""
        return any(host == domain or host.endswith(f".{domain}") for domain in self.domains)


@dataclass(frozen=True, slots=True)
class Access:
    """Everything that a connection of one recording needs; times in seconds."""

    policy: EgressPolicy
    network: Network = Network()
    login: Login = Login()
    stall_s: float = 15.0
    connect_timeout_s: float = 10.0

    @property
    def proxy(self) -> str | None:
        """The proxy with its login, for a client's ears only."""
        if not self.network.proxy:
            return None
        url = URL(self.network.proxy)
        if self.login.proxy_user or self.login.proxy_password:
            url = url.with_user(self.login.proxy_user or url.user).with_password(self.login.proxy_password or None)
        return str(url)

    def headers(self, source: Source) -> dict[str, str]:
        """The headers of a request for a source: its own, then what the configuration says instead. Never a secret."""
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", **source.headers}
        wanted = {"Referer": self.network.referer, "User-Agent": self.network.user_agent}
        for name, value in wanted.items():
            if value:
                headers = {one: kept for one, kept in headers.items() if one.lower() != name.lower()} | {name: value}
        return headers

    def open_session(self) -> aiohttp.ClientSession:
        """A guarded session for media: no total time limit, large read buffers. Close it. Raises SourceFailed for a login that cannot be sent."""
        try:
            return open_session(
                self.policy,
                timeout=aiohttp.ClientTimeout(total=None, connect=self.connect_timeout_s),
                read_buffer=MEDIA_READ_BUFFER,
                limit=0,
                proxy=self.proxy,
                cookies=self.login.cookies,
                cookie_domains=self.login.domains,
                family=FAMILIES[self.network.ip_version],
                verify_certificates=not self.network.allow_invalid_certificate,
                middlewares=(_login_headers(self.login),) if self.login.headers else (),
            )
        except ValueError:
            raise SourceFailed("the account's cookies cannot be sent") from None


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


async def judged_address(host: str, port: int, access: Access) -> str:
    """One address of a host, judged and of the wanted family; raises RefusedAddress, or OSError when there is none."""
    family = FAMILIES[access.network.ip_version]
    for address in await resolve_checked(host, access.policy, port):
        if family in (socket.AF_UNSPEC, socket.AF_INET6 if ":" in address else socket.AF_INET):
            return address
    raise OSError("no address of the wanted family")

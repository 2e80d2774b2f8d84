"""How one recording reaches its sources: headers, login, proxy, address family, certificates and patience in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass

import aiohttp
from chassis.accounts import Login
from chassis.egress import MEDIA_READ_BUFFER, EgressPolicy
from chassis.network import asking, open_network_session, proxy_of
from contracts.values import Network, Source
from yarl import URL

from services.downloader.adapters.engine import SourceFailed
from services.downloader.adapters.take_over import LiveResponse

USER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36"
)
"""Several content networks refuse clients that do not look like a browser."""

_SENDABLE = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}: [^\x00-\x08\x0a-\x1f\x7f]{0,8192}")
"""A header as RFC 9110 allows it. Those of a source come from the outside, and one that breaks a request would break it every time."""


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
        return proxy_of(self.network, self.login)

    def headers(self, source: Source) -> dict[str, str]:
        """The headers of a request for a source: its own, then what the configuration says instead. Never a secret."""
        sendable = {name: value for name, value in source.headers.items() if _SENDABLE.fullmatch(f"{name}: {value}")}
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", **sendable}
        for name, value in asking(self.network).items():
            headers = {one: kept for one, kept in headers.items() if one.lower() != name.lower()} | {name: value}
        return headers

    def open_live_session(self) -> aiohttp.ClientSession:
        """A session like `open_session`'s for answers that do not end: their bodies may be taken over."""
        return self.open_session(LiveResponse)

    def open_session(
        self, response_class: type[aiohttp.ClientResponse] = aiohttp.ClientResponse
    ) -> aiohttp.ClientSession:
        """A guarded session for media: no total time limit, large read buffers. Close it. Raises SourceFailed for a login that cannot be sent."""
        try:
            return open_network_session(
                self.policy,
                self.network,
                self.login,
                timeout=aiohttp.ClientTimeout(total=None, connect=self.connect_timeout_s),
                read_buffer=MEDIA_READ_BUFFER,
                limit=0,
                response_class=response_class,
            )
        except ValueError:
            raise SourceFailed("the account's cookies cannot be sent") from None


def host_of(address: str) -> str:
    """The host of an address, in small letters; empty when it is none."""
    try:
        return (URL(address).host or "").lower()
    except ValueError:
        return ""

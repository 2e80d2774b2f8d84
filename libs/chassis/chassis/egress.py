"""The guard for every outgoing connection to an address that somebody else chose (server-side request forgery).

Three checks, because each alone can be walked around:

1. `check_url` judges what is written: scheme, credentials, length, literal addresses and their odd spellings.
2. `GuardedResolver` judges what a name resolves to, and the connection goes to exactly the addresses it judged, so a
   name that answers differently a second time (DNS rebinding) gains nothing.
3. The connector's socket factory judges the address of every socket before it connects, whoever asked for it.

`open_session` puts all three into one `aiohttp.ClientSession` and repeats the first for each redirect.
Address categories: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890).
"""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

MAX_URL_LENGTH = 8192
"""Signed CDN addresses reach 4 KiB; nothing honest is twice that."""

DEFAULT_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=10, sock_read=20)
MEDIA_READ_BUFFER = 1024 * 1024
"""`read_buffer` for media: fewer pauses of the socket at tens of Mbit/s than with aiohttp's 64 KiB."""

SESSION_SCHEMES = ("http", "https", "ws", "wss")

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class RefusedAddress(ValueError):
    """An address this installation does not connect to; the message says why and what to do about it."""


class ResponseTooLarge(ValueError):
    """A response body is longer than its reader allows."""


def _networks(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# Opened by `allow_private`: a home or company network.
_PRIVATE: Mapping[str, tuple[IPNetwork, ...]] = {
    "loopback": _networks("127.0.0.0/8", "::1/128"),
    "private": _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    "shared (carrier-grade NAT)": _networks("100.64.0.0/10"),
}
# Opened only by naming the network: link-local holds cloud metadata services, the rest is never a live channel.
_SPECIAL: Mapping[str, tuple[IPNetwork, ...]] = {
    "unspecified": _networks("0.0.0.0/8", "::/128"),
    "link-local": _networks("169.254.0.0/16", "fe80::/10"),
    "multicast": _networks("224.0.0.0/4", "ff00::/8"),
    "site-local": _networks("fec0::/10"),
    "documentation": _networks("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
    "benchmarking": _networks("198.18.0.0/15", "2001:2::/48"),
    "reserved": _networks("192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", "100::/64", "5f00::/16"),
}
# Addresses that carry an IPv4 address inside: a tunnel or translator could deliver them to a private host.
_TRANSITION: Mapping[str, tuple[IPNetwork, ...]] = {
    "IPv4-mapped": _networks("::ffff:0:0/96"),
    "IPv4-translated": _networks("::ffff:0:0:0/96"),
    "NAT64": _networks("64:ff9b::/96", "64:ff9b:1::/48"),
    "6to4": _networks("2002::/16"),
    "Teredo": _networks("2001::/32"),
    "IPv4-compatible": _networks("::/96"),
}
_NAT64_WELL_KNOWN = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Which addresses may be connected to; `allowed_networks` (CIDR texts) opens exactly those, private or not."""

    allow_private: bool = False
    allowed_networks: tuple[str, ...] = ()
    allow_credentials: bool = False

    def __post_init__(self) -> None:
        _networks(*self.allowed_networks)

    def refusal(self, address: IPAddress) -> str | None:
        """The category for which `address` is refused, or None where it may be connected to."""
        if any(address in network for network in _networks(*self.allowed_networks)):
            return None
        if category := _category(address, _SPECIAL):
            return category
        if category := _category(address, _PRIVATE):
            return None if self.allow_private else category
        return self._refusal_of_embedded(address)

    def _refusal_of_embedded(self, address: IPAddress) -> str | None:
        category = _category(address, _TRANSITION)
        if category is None or address not in _NAT64_WELL_KNOWN:
            return category
        # DNS64 answers with these on IPv6-only networks (RFC 6147): as good or bad as the IPv4 address inside.
        return self.refusal(IPv4Address(int(address) & 0xFFFFFFFF))


def check_url(
    url: str | URL,
    policy: EgressPolicy,
    schemes: Collection[str] = ("http", "https"),
    *,
    max_length: int = MAX_URL_LENGTH,
) -> URL:
    """Judge an address as written, before it is stored or asked; raises `RefusedAddress`. Resolves nothing."""
    text = str(url)
    if len(text) > max_length:
        raise RefusedAddress(f"the address is longer than {max_length} characters; give the channel's plain address")
    if re.search(r"[\x00-\x20\x7f\\]", text):
        raise RefusedAddress("the address contains a space, a control character or a backslash; percent-encode it")
    try:
        parsed = URL(text)
    except ValueError as error:
        raise RefusedAddress(f"this is not a valid address ({error}); check its spelling") from None
    if parsed.scheme not in schemes:
        raise RefusedAddress(f"scheme {parsed.scheme or '(none)'!r} is not accepted; use one of {', '.join(schemes)}")
    if (parsed.user is not None or parsed.password is not None) and not policy.allow_credentials:
        raise RefusedAddress("the address carries a user name or password; store them as a credential instead")
    if parsed.explicit_port == 0:
        raise RefusedAddress("port 0 cannot be connected to; give the real port")
    check_host(parsed.raw_host or "", policy)
    return parsed


def check_host(host: str, policy: EgressPolicy) -> None:
    """Judge a host as written (name or literal, IPv6 without brackets); raises `RefusedAddress`."""
    name = unicodedata.normalize("NFKC", host).rstrip(".").lower()
    if not name:
        raise RefusedAddress("the address has no host; write it as https://host/path")
    if ":" in name:
        return _check_ipv6_literal(name, policy)
    if not re.fullmatch(r"[a-z0-9_.-]{1,253}", name) or ".." in name or name.startswith("."):
        raise RefusedAddress(f"{host!r} is not a host name; check its spelling")
    if _ends_in_a_number(name):
        return _check_ipv4_literal(name, policy)
    if (name == "localhost" or name.endswith(".localhost")) and policy.refusal(IPv4Address("127.0.0.1")):
        raise _refused(host, "loopback")
    return None


async def resolve_checked(
    host: str, policy: EgressPolicy, port: int = 443, *, resolver: AbstractResolver | None = None
) -> tuple[str, ...]:
    """The addresses `host` resolves to, all judged; ask before another program (ffmpeg, streamlink) gets the URL.

    Such a program resolves the name again, so this narrows the window of a rebinding name and does not close it: where
    that matters, run the program behind a network policy. Raises `RefusedAddress`; `OSError` when the name is unknown.
    """
    check_host(host, policy)
    if _literal(host) is not None:
        return (host,)
    guarded = GuardedResolver(policy, resolver or aiohttp.ThreadedResolver())
    results = await guarded.resolve(host, port, socket.AF_UNSPEC)
    return tuple(result["host"] for result in results)


class GuardedResolver(AbstractResolver):
    """Resolves through `inner` and refuses the whole answer when one address in it is refused.

    Leaving out only the refused addresses would let a name probe the private network by mixing answers.
    """

    def __init__(self, policy: EgressPolicy, inner: AbstractResolver, *, exempt: Collection[str] = ()) -> None:
        self._policy = policy
        self._inner = inner
        self._exempt = frozenset(exempt)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See `AbstractResolver`; raises `RefusedAddress`, which no caller mistakes for an unknown name."""
        results = await self._inner.resolve(host, port, family)
        if host not in self._exempt:
            for result in results:
                _check_address(result["host"], self._policy, host)
        return results

    async def close(self) -> None:
        """Close the inner resolver."""
        await self._inner.close()


def open_session(  # noqa: PLR0913 - one keyword per thing a caller may need to bound
    policy: EgressPolicy,
    *,
    timeout: aiohttp.ClientTimeout = DEFAULT_TIMEOUT,
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    cookie_domains: Collection[str] = (),
    proxy: str | None = None,
    limit: int = 100,
    limit_per_host: int = 0,
    read_buffer: int = 64 * 1024,
    schemes: Collection[str] = SESSION_SCHEMES,
    resolver: AbstractResolver | None = None,
    auto_decompress: bool = True,
    family: socket.AddressFamily = socket.AF_UNSPEC,
    verify_certificates: bool = True,
    middlewares: Sequence[aiohttp.ClientMiddlewareType] = (),
    response_class: type[aiohttp.ClientResponse] = aiohttp.ClientResponse,
) -> aiohttp.ClientSession:
    """A session that reaches only what `policy` allows, redirects included; call it inside a running loop and close it.

    `cookies` go to `cookie_domains` and their subdomains and to nobody else, so a redirect cannot carry a login away;
    ValueError for those that cannot be sent.
    `proxy` (``http://``, ``socks4://`` or ``socks5://``) is the operator's choice and may be private; it resolves the names itself, so each
    name is additionally judged here before it is handed over. The environment's proxy variables are ignored: they would bypass the guard.
    `family` restricts connections to IPv4 or IPv6. `middlewares` see each hop, redirects included, after it was judged.
    `response_class` reads the answers.
    """
    if cookies and not cookie_domains:
        raise ValueError("cookies need cookie_domains: without them every redirect target would receive them")
    inner = resolver or aiohttp.ThreadedResolver()
    pool: dict[str, Any] = {"limit": limit, "limit_per_host": limit_per_host, "ssl": verify_certificates}
    # Which family reaches a proxy says nothing about what is behind it.
    pool["family"] = socket.AF_UNSPEC if proxy else family
    if proxy and proxy.startswith("socks"):
        connector, through = _socks_connector(proxy, pool), None
    else:
        connector, through = _connector(policy, inner, proxy, pool), proxy
    return aiohttp.ClientSession(
        connector=connector,
        connector_owner=True,
        timeout=timeout,
        headers=headers,
        cookie_jar=_cookie_jar(cookies or {}, cookie_domains),
        proxy=through,
        read_bufsize=read_buffer,
        auto_decompress=auto_decompress,
        trust_env=False,
        middlewares=(_guard_each_hop(policy, tuple(schemes), inner if proxy else None), *middlewares),
        response_class=response_class,
    )


async def read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole (decompressed) body, or `ResponseTooLarge` as soon as it passes `limit` bytes."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            response.close()
            raise ResponseTooLarge(f"{response.url.host} answered with more than {limit} bytes")
    return bytes(body)


def _connector(
    policy: EgressPolicy, inner: AbstractResolver, proxy: str | None, pool: Mapping[str, Any]
) -> aiohttp.TCPConnector:
    proxy_host = URL(proxy).host if proxy else None
    return aiohttp.TCPConnector(
        **pool,
        resolver=GuardedResolver(policy, inner, exempt=(proxy_host,) if proxy_host else ()),
        socket_factory=None if proxy else _guarded_socket_factory(policy),
    )


def _socks_connector(proxy: str, pool: Mapping[str, Any]) -> aiohttp.TCPConnector:
    # Imported here: not every service has the library, and only with such a proxy is it needed.
    from aiohttp_socks import ProxyConnector

    return ProxyConnector.from_url(proxy, rdns=not proxy.startswith("socks4:"), **pool)


def _guard_each_hop(
    policy: EgressPolicy, schemes: tuple[str, ...], resolver_behind_proxy: AbstractResolver | None
) -> aiohttp.ClientMiddlewareType:
    async def guard(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        check_url(request.url, policy, schemes)
        if resolver_behind_proxy is not None:
            await resolve_checked(request.url.raw_host or "", policy, resolver=resolver_behind_proxy)
        return await handler(request)

    return guard


def _guarded_socket_factory(policy: EgressPolicy) -> Any:
    def open_socket(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        _check_address(str(address[0]), policy, str(address[0]))
        return socket.socket(family=family, type=kind, proto=protocol)

    return open_socket


def _cookie_jar(cookies: Mapping[str, str], domains: Collection[str]) -> aiohttp.CookieJar:
    # "unsafe" only means that hosts written as addresses may have cookies too. Values go out as they are: browsers quote
    # nothing, and platforms reject logins that come back in quotes.
    jar = aiohttp.CookieJar(unsafe=True, quote_cookie=False)
    for domain in domains:
        scoped: SimpleCookie = SimpleCookie()
        for name, value in cookies.items():
            _set_cookie(scoped, name, value, domain)
        jar.update_cookies(scoped, URL.build(scheme="https", host=domain, path="/"))
    return jar


def _set_cookie(scoped: SimpleCookie, name: str, value: str, domain: str) -> None:
    if not re.fullmatch(r"[\x21-\x3a\x3c-\x7e]*", value):
        raise ValueError(f"the value of cookie {name!r} contains a space, a semicolon or a control character")
    try:
        scoped[name] = value
    except CookieError:
        raise ValueError(f"{name!r} is no name for a cookie") from None
    scoped[name]["domain"] = domain
    scoped[name]["path"] = "/"


def _check_address(text: str, policy: EgressPolicy, host: str) -> None:
    address = ipaddress.ip_address(text.partition("%")[0])
    if category := policy.refusal(address):
        raise _refused(host, category, text)


def _check_ipv6_literal(name: str, policy: EgressPolicy) -> None:
    if "%" in name:
        raise RefusedAddress("an address with a zone id belongs to one network card; use a routable address")
    try:
        address = IPv6Address(name)
    except ValueError:
        raise RefusedAddress(f"{name!r} is not an IPv6 address; check its spelling") from None
    plain = _category(address, _SPECIAL) or _category(address, _PRIVATE)
    carrier = None if plain else _category(address, _TRANSITION)
    if carrier:
        raise RefusedAddress(f"{name} is an {carrier} address with an IPv4 address inside; write that one plainly")
    if category := policy.refusal(address):
        raise _refused(name, category)


def _check_ipv4_literal(name: str, policy: EgressPolicy) -> None:
    try:
        address = IPv4Address(name)
    except ValueError:
        raise RefusedAddress(
            f"{name!r} is an unusual spelling of an IPv4 address; write four decimal numbers"
        ) from None
    if category := policy.refusal(address):
        raise _refused(name, category)


def _ends_in_a_number(name: str) -> bool:
    # The URL standard's "ends in a number" test: such a host is an IPv4 address to inet_aton, whatever it looks like.
    last = name.rpartition(".")[2]
    return last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last) is not None


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _category(address: IPAddress, table: Mapping[str, Iterable[IPNetwork]]) -> str | None:
    return next((name for name, networks in table.items() if any(address in network for network in networks)), None)


def _refused(host: str, category: str, address: str | None = None) -> RefusedAddress:
    where = f"{host} ({address})" if address not in (None, host) else host
    return RefusedAddress(
        f"{where} is a {category} address; if you trust it, allow private addresses "
        "(AIRCHECK_ALLOW_PRIVATE_SOURCES, for one service <SERVICE>_ALLOW_PRIVATE_SOURCES)"
    )

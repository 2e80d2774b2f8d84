"""Every site that an installed Streamlink plugin knows.

Streamlink is a blocking library with its own HTTP client. It is imported on first use, runs in threads of its own, and
each of its requests passes the same egress check as ours. It resolves names by itself: the address of each connection is judged
once more when it is made, so a name that changes its answer in between gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

import aiohttp
from chassis.accounts import Login
from chassis.confinement import confined_thread
from chassis.egress import EgressPolicy, RefusedAddress, check_url
from chassis.network import asking, proxy_of
from contracts.values import Network, Source
from pydantic import ValidationError
from yarl import URL

from services.monitor.adapters.chats import chat_of
from services.monitor.adapters.platform import (
    ChannelNotFound,
    ChannelRef,
    ChannelRefused,
    Probe,
    ProbeFailed,
    Refusal,
    UnsupportedUrl,
    prioritised,
)
from services.monitor.adapters.registry import AdapterOptions, adapter

THREADS = 4
"""A thread that hangs cannot be killed; with few of them, hanging sites cannot starve the process."""

REQUEST_SECONDS = 10.0
MAX_REQUEST_SECONDS = 30.0
_OWN_HEADERS = {"accept", "accept-encoding", "connection", "cookie", "authorization", "host"}
_ANY_OWN_ADDRESS = {"4": "0.0.0.0", "6": "::"}  # noqa: S104 - where connections come from; nothing listens
_NAMED_TWICE = {"best", "worst", "best-unfiltered", "worst-unfiltered"}
# Streamlink has no error classes for these; its plugins say them in their messages.
_SPOKEN_REFUSALS = (
    (Refusal.AGE, ("age-restricted", "age restricted", "adult", "mature content")),
    (Refusal.REGION, ("geo-restricted", "geo restricted", "not available in your", "your region", "your country")),
    (Refusal.BANNED, ("banned", "suspended")),
    (Refusal.PRIVATE, ("private", "password", "log in", "login", "subscribers", "premium", "members")),
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a plugin said; `streams` by name, best first."""

    plugin: str
    author: str
    title: str
    category: str
    room_id: str
    streams: tuple[Source, ...]
    unusable: int


@adapter(order=50)
class StreamlinkAdapter:
    """`make_session` builds a Streamlink session and is replaced in tests by one with its own plugins."""

    name = "streamlink"

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        timeout_seconds: float = 20.0,
        make_session: Callable[[], Any] | None = None,
    ) -> None:
        self._policy = policy
        self._timeout = timeout_seconds
        self._make_session = make_session or _new_session
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="streamlink")

    @classmethod
    def configured(cls, options: AdapterOptions) -> Self:
        """Make the adapter from the installation's options."""
        return cls(options.policy, timeout_seconds=options.timeout_seconds)

    @cached_property
    def _plugins(self) -> Any:
        return self._make_session().plugins

    def matches(self, url: str) -> bool:
        """See `PlatformAdapter`: an http(s) address for which Streamlink has a plugin."""
        try:
            parsed = URL(url)
        except ValueError:
            return False
        return parsed.scheme in ("http", "https") and self._plugins.match_url(url) is not None

    def cookie_domains(self, url: str) -> tuple[str, ...]:
        """See `PlatformAdapter`: the host and, as sites keep their API beside it, the domain above `www.` or `m.`."""
        host = URL(url).raw_host or ""
        first, _, rest = host.partition(".")
        return (rest,) if first in ("www", "m", "live", "play") and "." in rest else (host,)

    async def probe(self, channel: ChannelRef, session: aiohttp.ClientSession) -> Probe:
        """See `PlatformAdapter`; `session` is unused but for its contract, as Streamlink brings its own client."""
        if not self.matches(channel.url):
            raise UnsupportedUrl("Streamlink has no plugin for this address")
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, channel)
        try:
            async with asyncio.timeout(self._timeout):
                found = await work
        except TimeoutError as error:
            raise ProbeFailed(f"the site did not answer within {self._timeout:g} s") from error
        if found.unusable and not found.streams:
            raise UnsupportedUrl("the channel is live, but only in formats other than HLS and FLV")
        return Probe(
            live=bool(found.streams),
            platform=found.plugin,
            room_id=found.room_id,
            canonical_url=channel.url,
            title=found.title,
            category=found.category,
            streamer_name=found.author,
            sources=prioritised(found.streams, channel.protocol),
            chat=chat_of(channel.url, found.room_id),
        )

    def close(self) -> None:
        """Start no more work; a thread that still waits for a site ends with its request."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, channel: ChannelRef) -> Found:
        streamlink = self._make_session()
        _obey(streamlink, channel.network, channel.login)
        _guard(streamlink.http, self._policy, channel.login)
        try:
            with confined_thread(self._policy, proxy=_door(channel.network)):
                return self._played(streamlink, channel)
        except RefusedAddress as error:
            raise UnsupportedUrl(str(error)) from error
        finally:
            streamlink.http.close()

    def _played(self, streamlink: Any, channel: ChannelRef) -> Found:
        from streamlink.exceptions import FatalPluginError, NoStreamsError, PluginError, StreamlinkError

        matched = streamlink.plugins.match_url(channel.url)
        if matched is None:
            raise UnsupportedUrl("Streamlink has no plugin for this address")
        plugin_name, plugin_class = matched
        plugin = plugin_class(streamlink, channel.url)
        try:
            streams = plugin.streams() or {}
        except NoStreamsError:
            streams = {}
        except RefusedAddress:
            raise
        except FatalPluginError as error:
            raise ChannelRefused(_spoken_refusal(error) or Refusal.PRIVATE, _said(error)) from error
        except PluginError as error:
            raise _translated(error) from error
        except (StreamlinkError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ProbeFailed(f"the {plugin_name} plugin failed: {_said(error)}") from error
        return _found(plugin_name, plugin, streams)


def _new_session() -> Any:
    from streamlink.session.session import Streamlink

    return Streamlink(
        {
            "http-timeout": REQUEST_SECONDS,
            "http-trust-env": False,
            "webbrowser": False,  # never start a browser on a server
            "no-plugin-cache": True,  # several monitors, one home folder
        }
    )


def _obey(streamlink: Any, network: Network, login: Login) -> None:
    """Ask as the configuration says. The family is chosen by the own end of each connection: Streamlink's option for it is one for all threads."""
    if proxy := proxy_of(network, login):
        streamlink.set_option("http-proxy", proxy.replace("socks5://", "socks5h://"))
    elif network.ip_version != "any":
        streamlink.set_option("interface", _ANY_OWN_ADDRESS[network.ip_version])
    streamlink.set_option("http-ssl-verify", not network.allow_invalid_certificate)
    limits = (one or REQUEST_SECONDS for one in (network.connect_timeout_s, network.stall_s))
    streamlink.set_option("http-timeout", tuple(min(one, MAX_REQUEST_SECONDS) for one in limits))
    streamlink.http.headers.update(asking(network))
    for domain in login.domains:
        for name, value in login.cookies.items():
            streamlink.http.cookies.set(name, value, domain=f".{domain}", path="/")


def _door(network: Network) -> tuple[str, int] | None:
    """Where the proxy is: the operator's choice, which may be a private address."""
    url = URL(network.proxy)
    return (url.host, url.port) if url.host and url.port else None


def _guard(client: Any, policy: EgressPolicy, login: Login) -> None:
    """Check each request of a `requests` session, redirects included: all of them pass through its `send`.

    The login's headers are added here and nowhere else: what the session holds becomes part of the sources.
    """
    send = client.send

    def guarded(request: Any, **options: Any) -> Any:
        url = check_url(request.url, policy)
        for *_, address in socket.getaddrinfo(url.raw_host, url.port, type=socket.SOCK_STREAM):
            if category := policy.refusal(ipaddress.ip_address(str(address[0]).partition("%")[0])):
                raise RefusedAddress(f"{url.raw_host} resolves to a {category} address")
        for name, value in login.headers.items():
            request.headers.pop(name, None)
            if login.covers(url.raw_host or ""):
                request.headers[name] = value
        return send(request, **options)

    client.send = guarded


def _found(plugin_name: str, plugin: Any, streams: Mapping[str, Any]) -> Found:
    named = [(name, stream) for name, stream in streams.items() if name not in _NAMED_TWICE]
    named.sort(key=lambda item: plugin.stream_weight(item[0])[0], reverse=True)
    sources = [source for name, stream in named if (source := _source(name, stream))]
    return Found(
        plugin=plugin_name,
        author=_limited(plugin.author),
        title=_limited(plugin.title),
        category=_limited(plugin.category),
        room_id=_limited(plugin.id) or URL(plugin.url).path.strip("/"),
        streams=tuple(sources),
        unusable=len(named) - len(sources),
    )


def _source(name: str, stream: Any) -> Source | None:
    try:
        url = str(stream.url)
        return Source(
            url=url,
            protocol=_protocol(stream, url),
            container="flv" if _protocol(stream, url) == "flv" else "unknown",
            quality=name,
            bitrate=_bitrate(stream),
            headers=dict(_headers(stream)),
        )
    except (AttributeError, TypeError, LookupError, ValidationError):
        return None


def _protocol(stream: Any, url: str) -> Literal["flv", "hls"]:
    """The protocol, LookupError for streams that are neither: DASH, separate audio and video, plain files."""
    kind = type(stream).shortname()
    if kind == "hls":
        return "hls"
    if kind == "http" and URL(url).suffix.lower() == ".flv":
        return "flv"
    raise LookupError(kind)


def _bitrate(stream: Any) -> int:
    multivariant = getattr(stream, "multivariant", None)
    for playlist in getattr(multivariant, "playlists", ()):
        if playlist.uri == stream.url and playlist.stream_info is not None:
            return int(playlist.stream_info.bandwidth)
    return 0


def _headers(stream: Any) -> Iterator[tuple[str, str]]:
    merged = {**stream.session.http.headers, **(stream.args.get("headers") or {})}
    for name, value in merged.items():
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        if str(name).lower() not in _OWN_HEADERS:
            yield str(name), text


def _translated(error: Exception) -> Exception:
    cause = _cause(error)
    if isinstance(cause, RefusedAddress):
        return UnsupportedUrl(str(cause))
    status = _http_status(cause)
    if status in (404, 410):
        return ChannelNotFound("the site has no such channel")
    if status == 451:
        return ChannelRefused(Refusal.REGION, "the site withholds this channel for legal reasons (HTTP 451)")
    if refusal := _spoken_refusal(error):
        return ChannelRefused(refusal, _said(error))
    return ProbeFailed(_said(error))


def _cause(error: Exception) -> object:
    # Streamlink keeps the failure of its HTTP client in `err`.
    return getattr(error, "err", None) or error.__cause__


def _http_status(cause: object) -> int | None:
    return getattr(getattr(cause, "response", None), "status_code", None)


def _spoken_refusal(error: Exception) -> Refusal | None:
    said = str(error).lower()
    return next((refusal for refusal, words in _SPOKEN_REFUSALS if any(word in said for word in words)), None)


def _said(error: Exception) -> str:
    """The message without addresses, which may be signed."""
    words = (word for word in str(error).split() if "://" not in word)
    return " ".join(words)[:300] or type(error).__name__


def _limited(text: object) -> str:
    return str(text)[:4096] if text else ""

"""Every messenger that the Apprise library speaks: chat services, mail, push.

Apprise is a blocking library that opens its own connections, so no session of `chassis.egress` carries them. What is done
instead: addresses whose host part is a network host are resolved and judged before each message, for a clear answer; every
connection of the thread that sends is judged when it is made, so that a name that changes its answer gains nothing;
redirects are off; services that act on this very machine are refused. A plugin that connects in a thread of its own (MQTT)
is judged before the message only: where strangers may set targets, also restrict the notifier's network.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chassis.confinement import confined_thread
from chassis.egress import EgressPolicy, RefusedAddress, resolve_checked

from services.notifier.adapters.channel import (
    Delivered,
    InvalidTarget,
    Notification,
    Outcome,
    Permanent,
    Target,
    Transient,
)

THREADS = 4
"""A thread that hangs cannot be killed; with few of them, hanging services cannot starve the process."""

# Apprise writes addresses it cannot use into its log, tokens included.
logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)

# Desktop pop-ups and the system log of the machine the notifier runs on: nobody's inbox, and a way to write to it.
_THIS_MACHINE = frozenset({"dbus", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"})
# Modes in which a plugin talks to its project's own server, and the host part is a topic.
_PUBLIC_MODES = frozenset({"cloud", "official"})


class AppriseChannel:
    """Sends through one Apprise URL per target; the target's secret is not used, the URL holds everything."""

    kind = "apprise"

    def __init__(self, policy: EgressPolicy, *, timeout_seconds: float = 30.0) -> None:
        self._policy = policy
        self._timeout = timeout_seconds
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="apprise")

    def check(self, target: Target) -> None:
        """See `Channel`; imports Apprise on first use."""
        _service(target)

    def host(self, target: Target) -> str:
        """See `Channel`: the service's name, as the host part of an Apprise URL may be its token."""
        return str(_service(target).service_name)

    async def send(self, target: Target, notification: Notification) -> Outcome:
        """See `Channel`; Apprise tells only yes or no, so every no of a usable URL is transient."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                service = await loop.run_in_executor(self._threads, _service, target)
                await _check_hosts(service, self._policy)
                accepted = await loop.run_in_executor(self._threads, _send, service, notification, self._policy)
        except (InvalidTarget, RefusedAddress) as error:
            return Permanent(str(error))
        except TimeoutError:
            return Transient(f"the service did not answer within {self._timeout:g} s")
        except Exception as error:  # a plugin of another project: whatever it raises is one failed attempt
            return Transient(f"the service could not be reached: {type(error).__name__}")
        return Delivered(str(service.service_name)) if accepted else Transient("the service did not accept the message")

    def close(self) -> None:
        """Start no more work; a thread that still waits ends with its own timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _service(target: Target) -> Any:
    import apprise

    schema = target.address.partition("://")[0].lower()
    if schema in _THIS_MACHINE:
        raise InvalidTarget(
            f"{schema}:// would notify the machine the notifier runs on; choose a service that reaches you"
        )
    asset = apprise.AppriseAsset(
        app_id="Aircheck",
        app_desc="Aircheck notifications",
        async_mode=False,
        http_redirects=False,
        service_timeout=0,  # with a limit of its own it sends in a thread of its own, whose connections nobody judges
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )
    service = apprise.Apprise.instantiate(target.address, asset=asset)
    if service is None:
        raise InvalidTarget("Apprise does not understand this URL; see its list of services for the form it needs")
    return service


async def _check_hosts(service: Any, policy: EgressPolicy) -> None:
    for host in _network_hosts(service):
        try:
            await resolve_checked(host, policy)
        except OSError:
            # Left to the plugin: with some services this is a mail domain, which needs no address of its own.
            continue


def _network_hosts(service: Any) -> tuple[str, ...]:
    # Only plugins that declare a host token connect to it. For the others the host part is a token or a recipient, which
    # must not be looked up: the name server would learn it.
    if "host" not in service.template_tokens or str(getattr(service, "mode", "")) in _PUBLIC_MODES:
        return ()
    named = (service.host, getattr(service, "smtp_host", None))
    return tuple(host for host in named if isinstance(host, str) and host)


def _send(service: Any, notification: Notification, policy: EgressPolicy) -> bool:
    with confined_thread(policy):
        return _notify(service, notification)


def _notify(service: Any, notification: Notification) -> bool:
    import apprise

    sender = apprise.Apprise(asset=service.asset)
    sender.add(service)
    return bool(
        sender.notify(
            body=notification.body or notification.title,
            title=notification.title,
            notify_type=apprise.NotifyType(notification.severity),
            body_format=apprise.NotifyFormat.TEXT,
        )
    )

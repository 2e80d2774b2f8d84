"""Webhooks: a CloudEvent in the body, signed as the Standard Webhooks specification says.

Sources: CloudEvents 1.0.2 HTTP binding (structured mode); Standard Webhooks 1.0.0 (headers, signature, outcomes).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from chassis.egress import EgressPolicy, RefusedAddress, check_url

from services.notifier.adapters.channel import (
    Delivered,
    InvalidTarget,
    Notification,
    Outcome,
    Permanent,
    Target,
    Transient,
)

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
BODY_LIMIT = 512 * 1024
LONGEST_WAIT = 24 * 3600.0
_SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix that marks a secret, not one
_KEY_BYTES = range(24, 65)
# 4xx answers that say "not now" rather than "not like this".
_PASSING = {408, 409, 425, 429}


class WebhookChannel:
    """POSTs to an http(s) address. Redirects are not followed: a signed message belongs to one address.

    A target without a secret gets unsigned messages. Several secrets, separated by spaces, sign side by side, so that a
    receiver can change its secret without losing a message.
    """

    kind = "webhook"

    def __init__(
        self,
        session: aiohttp.ClientSession,
        policy: EgressPolicy,
        *,
        timeout_seconds: float = 20.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._policy = policy
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._clock = clock

    def check(self, target: Target) -> None:
        """See `Channel`."""
        try:
            check_url(target.address, self._policy)
        except RefusedAddress as error:
            raise InvalidTarget(str(error)) from error
        for secret in target.secret.split():
            _key(secret)

    def host(self, target: Target) -> str:
        """See `Channel`: the host and nothing of the path, which often is the token."""
        self.check(target)
        return check_url(target.address, self._policy).host or ""

    async def send(self, target: Target, notification: Notification) -> Outcome:
        """See `Channel`."""
        body = json.dumps(notification.event, ensure_ascii=False, separators=(",", ":")).encode()
        if len(body) > BODY_LIMIT:
            return Permanent(f"the event is larger than {BODY_LIMIT} bytes")
        try:
            self.check(target)
            headers = self._headers(target, notification, body)
            async with self._session.post(
                target.address, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
            ) as response:
                return self._outcome(response)
        except (InvalidTarget, RefusedAddress) as error:
            return Permanent(str(error))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Transient(f"the address could not be reached: {type(error).__name__}")

    def _headers(self, target: Target, notification: Notification, body: bytes) -> dict[str, str]:
        timestamp = int(self._clock())
        headers = {
            "Content-Type": CONTENT_TYPE,
            "User-Agent": "aircheck-notifier",
            "webhook-id": notification.id,
            "webhook-timestamp": str(timestamp),
        }
        signatures = [signature(secret, notification.id, timestamp, body) for secret in target.secret.split()]
        if signatures:
            headers["webhook-signature"] = " ".join(signatures)
        return headers

    def _outcome(self, response: aiohttp.ClientResponse) -> Outcome:
        status = response.status
        if 200 <= status < 300:
            return Delivered(f"HTTP {status}")
        if status == 410:
            return Permanent("the receiver says that this address is gone for good (HTTP 410)")
        if 300 <= status < 400:
            return Permanent(f"the address redirects (HTTP {status}); set the new address")
        if status < 500 and status not in _PASSING:
            return Permanent(f"the receiver refused the message (HTTP {status})")
        return Transient(f"HTTP {status}", self._retry_after(response.headers.get("Retry-After", "")))

    def _retry_after(self, value: str) -> float | None:
        """Seconds to wait (RFC 9110 §10.2.3: a number or a date), bounded, None where nothing usable is said."""
        if value.isascii() and value.isdigit() and len(value) < 10:
            return min(float(value), LONGEST_WAIT)
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        wait = (moment - datetime.fromtimestamp(self._clock(), UTC)).total_seconds()
        return min(max(wait, 0.0), LONGEST_WAIT)


def new_secret() -> str:
    """A fresh signing secret in the form receivers' libraries expect."""
    return _SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; raises `InvalidTarget` for an unusable secret."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode()


def _key(secret: str) -> bytes:
    if not secret.startswith(_SECRET_PREFIX):
        raise InvalidTarget("a webhook secret begins with whsec_ and goes on in base64")
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidTarget("the part of the webhook secret after whsec_ is not base64") from None
    if len(key) not in _KEY_BYTES:
        raise InvalidTarget("a webhook secret holds between 24 and 64 bytes")
    return key

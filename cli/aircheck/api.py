"""The gateway as the command line sees it: an address, a token, JSON in and out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from deploy.embedded.options import DEFAULT_PORT, from_environment

Json = dict[str, Any]


class ApiError(Exception):
    """The gateway refused or cannot be reached; the message says what to do."""


class NotLoggedIn(Exception):
    """No token and no password to get one with."""


class Api:
    """One login for one command. ``transport`` replaces the network in tests."""

    def __init__(
        self, url: str | None = None, *, token: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = (url or os.environ.get("AIRCHECK_URL") or local_url()).rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=httpx.Timeout(60, connect=5), transport=transport)
        self._token = token or os.environ.get("AIRCHECK_TOKEN")

    def get(self, path: str, **params: Any) -> Any:
        """GET a resource; raises ApiError with the problem's text."""
        return self._json("GET", path, params={name: value for name, value in params.items() if value is not None})

    def post(self, path: str, body: Json | None = None) -> Any:
        """POST a change and wait for its outcome."""
        return self._json("POST", path, json=body or {})

    def patch(self, path: str, body: Json) -> Any:
        """PATCH a resource and wait for the outcome."""
        return self._json("PATCH", path, json=body)

    def delete(self, path: str) -> Any:
        """DELETE a resource."""
        return self._json("DELETE", path)

    def pages(self, path: str, **params: Any) -> Iterator[Json]:
        """Every item of a list, page by page."""
        cursor: str | None = None
        while True:
            page = self.get(path, **params, cursor=cursor, limit=200)
            yield from page["items"]
            cursor = page.get("next")
            if not cursor:
                return

    @contextmanager
    def stream(self, path: str, *, headers: dict[str, str] | None = None, **params: Any) -> Iterator[Iterator[str]]:
        """The lines of a server-sent event stream, without a read time limit."""
        wanted = {name: value for name, value in params.items() if value is not None}
        timeout = httpx.Timeout(None, connect=5)
        try:
            with self._client.stream(
                "GET", path, params=wanted, headers={**self._authorization(), **(headers or {})}, timeout=timeout
            ) as response:
                if response.is_error:
                    response.read()
                    raise _problem(response)
                yield response.iter_lines()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _json(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._client.request(method, path, headers=self._authorization(), **options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise _problem(response)
        return response.json() if response.content else None

    def _authorization(self) -> dict[str, str]:
        self._token = self._token or self._log_in()
        return {"Authorization": f"Bearer {self._token}"}

    def _log_in(self) -> str:
        user, password = os.environ.get("AIRCHECK_USER", "admin"), _password()
        if not password:
            raise NotLoggedIn(
                "no login: set AIRCHECK_TOKEN, or AIRCHECK_USER and AIRCHECK_PASSWORD, or AIRCHECK_DATA of a system on this machine"
            )
        try:
            response = self._client.post("/api/login", json={"username": user, "password": password})
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if response.is_error:
            raise _problem(response)
        return str(response.json()["access_token"])

    def _unreachable(self, error: Exception) -> ApiError:
        return ApiError(
            f"nothing answers at {self.url} ({error}); is it running? `aircheck up` starts it, AIRCHECK_URL names another one"
        )


def local_url() -> str:
    """The gateway of the system whose data folder the environment names, else the default port."""
    options = from_environment()
    remembered = options.data / "gateway-port.json"
    port = options.port or (json.loads(remembered.read_text()) if remembered.exists() else DEFAULT_PORT)
    return f"http://127.0.0.1:{port}"


def _password() -> str:
    password = os.environ.get("AIRCHECK_PASSWORD") or os.environ.get("AIRCHECK_ADMIN_PASSWORD")
    if password:
        return password
    first = from_environment().data / "admin-password"
    try:
        return first.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _problem(response: httpx.Response) -> ApiError:
    try:
        problem = response.json()
        text = ": ".join(part for part in (problem.get("title"), problem.get("detail")) if part)
        errors = "".join(f"\n  {one}" for one in problem.get("errors") or ())
    except ValueError:
        text, errors = response.text[:200], ""
    return ApiError(f"{text or response.reason_phrase} ({response.status_code}){errors}")

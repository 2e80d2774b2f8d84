"""The gateway as the command line sees it: an address, a token, JSON in and out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from deploy.embedded.options import DEFAULT_PORT, BadOption, Options, from_environment

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
        if self._token and not self._token.isascii():
            raise NotLoggedIn("AIRCHECK_TOKEN holds letters that no token has; copy it again")

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

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Any request; None where the answer has no body."""
        return self._json(method, path, **({} if body is None else {"json": body}))

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
        headers = self._authorization()
        try:
            response = self._client.request(method, path, headers=headers, **options)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        return self._answer(response) if response.content or response.is_error else None

    def _answer(self, response: httpx.Response) -> Any:
        if response.is_error:
            raise _problem(response)
        try:
            return response.json()
        except ValueError:
            raise ApiError(
                f"what answers at {self.url} is no Aircheck gateway; set AIRCHECK_URL to its address"
            ) from None

    def _authorization(self) -> dict[str, str]:
        self._token = self._token or self._log_in()
        return {"Authorization": f"Bearer {self._token}"}

    def _log_in(self) -> str:
        user, password = os.environ.get("AIRCHECK_USER", "admin"), _password()
        if not password:
            raise NotLoggedIn(
                f"no login for {self.url}: there is no first password in {_options().data} (it was chosen or changed, or the system is "
                "elsewhere); set AIRCHECK_PASSWORD, and AIRCHECK_USER if you are not admin, or AIRCHECK_TOKEN, or AIRCHECK_DATA of another "
                "system on this machine"
            )
        try:
            response = self._client.post("/api/login", json={"username": user, "password": password})
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        if response.status_code == 401:
            raise NotLoggedIn(
                f"{self.url} refuses this name and password; set AIRCHECK_USER and AIRCHECK_PASSWORD to those you log in with"
            )
        return str(self._answer(response)["access_token"])

    def _unreachable(self, error: Exception) -> ApiError:
        return ApiError(
            f"nothing answers at {self.url} ({error}); is it running? `aircheck up` starts it, AIRCHECK_URL names another one"
        )


def local_url() -> str:
    """The gateway of the system whose data folder the environment names, else the default port."""
    options = _options()
    try:
        remembered = int(json.loads((options.data / "gateway-port.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        remembered = DEFAULT_PORT
    return f"http://127.0.0.1:{options.port or remembered}"


def _options() -> Options:
    try:
        return from_environment()
    except BadOption as error:
        raise ApiError(str(error)) from None


def _password() -> str:
    password = os.environ.get("AIRCHECK_PASSWORD") or os.environ.get("AIRCHECK_ADMIN_PASSWORD")
    if password:
        return password
    first = _options().data / "admin-password"
    try:
        return first.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _problem(response: httpx.Response) -> ApiError:
    try:
        problem = response.json()
        text = ": ".join(part for part in (problem.get("title"), problem.get("detail")) if part)
        errors = "".join(f"\n  {_named(one)}" for one in problem.get("errors") or ())
    except (ValueError, AttributeError):
        text, errors = response.text[:200], ""
    return ApiError(f"{text or response.reason_phrase} ({response.status_code}){errors}")


def _named(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)
    field = str(error.get("field", "")).removeprefix("body.").removeprefix("query.")
    return f"{field}: {error.get('message', '')}"

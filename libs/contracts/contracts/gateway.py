"""What the gateway owns: users and their keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from contracts.message import Event, Signal
from contracts.values import Id

Role = Literal["admin", "operator", "viewer"]
UserName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class UserCreated(Event, type="gateway.user.created.v1", key="user_id"):
    """A person may log in. The password's hash stays in the gateway's own table."""

    user_id: Id
    username: UserName
    role: Role


class PasswordChanged(Event, type="gateway.user.password_changed.v1", key="user_id"):
    """A user set a new password; all refresh tokens were revoked."""

    user_id: Id


class UserRemoved(Event, type="gateway.user.removed.v1", key="user_id"):
    """A user may not log in any more."""

    user_id: Id


class ApiKeyCreated(Event, type="gateway.api_key.created.v1", key="key_id"):
    """A key for programs was made. The key itself was shown once and only its hash is kept."""

    key_id: Id
    user_id: Id
    name: str
    scopes: tuple[str, ...]


class ApiKeyRevoked(Event, type="gateway.api_key.revoked.v1", key="key_id"):
    """A key does not open anything any more."""

    key_id: Id


class Projected(Signal, type="gateway.projected.v1", key="name"):
    """The read models have reached a position: wakes the followers of every gateway replica.

    ``pending``: at 0 everything that was published together has been projected; else so many events were on the bus behind it.
    """

    name: Id
    position: int
    pending: int = 0

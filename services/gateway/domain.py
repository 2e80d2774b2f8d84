"""Users and API keys: who may do what."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from contracts.aggregate import Aggregate, Rejected
from contracts.gateway import ApiKeyCreated, ApiKeyRevoked, PasswordChanged, Role, UserCreated, UserRemoved
from contracts.message import Event

from services.gateway.settings import MAX_PASSWORD, MIN_PASSWORD

RANKS: dict[str, int] = {"viewer": 1, "operator": 2, "admin": 3}
RESOURCES = (
    "streamers",
    "config",
    "credentials",
    "sessions",
    "recordings",
    "pipelines",
    "uploads",
    "reclaims",
    "notifications",
    "events",
    "dead-letters",
    "users",
    "system",
)
_SCOPE = re.compile(r"(?P<resource>\*|[a-z-]+):(?P<action>read|write)")


@dataclass(frozen=True, slots=True)
class User:
    """One person who may log in."""

    id: str = ""
    username: str = ""
    role: str = ""
    removed: bool = False


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key of a program."""

    id: str = ""
    user_id: str = ""
    revoked: bool = False


def evolve_user(state: User, event: Event) -> User:
    """The user after an event."""
    match event:
        case UserCreated():
            return User(event.user_id, event.username, event.role)
        case UserRemoved():
            return replace(state, removed=True)
    return state


def evolve_api_key(state: ApiKey, event: Event) -> ApiKey:
    """The key after an event."""
    match event:
        case ApiKeyCreated():
            return ApiKey(event.key_id, event.user_id)
        case ApiKeyRevoked():
            return replace(state, revoked=True)
    return state


USER = Aggregate("user", User(), evolve_user)
API_KEY = Aggregate("api_key", ApiKey(), evolve_api_key)
AGGREGATES = (USER, API_KEY)


def decide_create_user(state: User, user_id: str, username: str, role: Role) -> list[Event]:
    """Let a person in."""
    if state.id:
        raise Rejected("User exists", detail=f"the id {user_id} is in use")
    return [UserCreated(user_id=user_id, username=username, role=role)]


def decide_change_password(state: User) -> list[Event]:
    """Record that a password was replaced."""
    _must_exist(state)
    return [PasswordChanged(user_id=state.id)]


def decide_remove_user(state: User, *, admins: int) -> list[Event]:
    """Let a person in no more. The last administrator stays, or nobody could ever be let in again."""
    _must_exist(state)
    if state.role == "admin" and admins <= 1:
        raise Rejected("Last administrator", detail="create another administrator first")
    return [UserRemoved(user_id=state.id)]


def decide_create_key(state: ApiKey, key_id: str, user: User, name: str, scopes: tuple[str, ...]) -> list[Event]:
    """Give a program a key of a user; refused for scopes that do not exist."""
    _must_exist(user)
    if state.id:
        raise Rejected("API key exists", detail=f"the id {key_id} is in use")
    wrong = [scope for scope in scopes if not valid_scope(scope)]
    if wrong or not scopes:
        known = ", ".join(("*", *RESOURCES))
        raise Rejected(
            "Unknown scope",
            status=422,
            detail=f"{', '.join(wrong) or 'no scope'}: a scope is <resource>:<read|write> with one of {known}",
        )
    return [ApiKeyCreated(key_id=key_id, user_id=user.id, name=name, scopes=scopes)]


def decide_revoke_key(state: ApiKey) -> list[Event]:
    """Let a key open nothing any more."""
    if not state.id or state.revoked:
        raise Rejected("Unknown API key", status=404, detail="there is no such key")
    return [ApiKeyRevoked(key_id=state.id)]


def check_password(password: str) -> None:
    """Refuse passwords that are too short to protect anything, or long enough to be an attack on the hash."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise Rejected("Bad password", status=422, detail=f"use {MIN_PASSWORD} to {MAX_PASSWORD} characters")


def valid_scope(scope: str) -> bool:
    """Whether a scope names a known resource (or ``*``) and ``read`` or ``write``."""
    match = _SCOPE.fullmatch(scope)
    return match is not None and (match["resource"] == "*" or match["resource"] in RESOURCES)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a person (``scopes`` is ``None``) or a program with a key of that person, which may do less and never more."""

    user_id: str
    username: str
    role: str
    scopes: frozenset[str] | None = None
    family: str | None = None
    """The login a person's token belongs to."""
    expires_at: float | None = field(default=None, compare=False)
    """Unix time at which the token ends."""

    def refusal(self, role: str, resource: str, action: str) -> str | None:
        """Why this principal may not do something, or ``None``. Writing includes reading of the same resource."""
        if RANKS.get(self.role, 0) < RANKS[role]:
            return f"this needs the role {role}; {self.username} is {self.role}"
        if self.scopes is None:
            return None
        enough = {f"{name}:{act}" for name in (resource, "*") for act in (action, "write")}
        return None if enough & self.scopes else f"the key has no scope {resource}:{action}"


def _must_exist(state: User) -> None:
    if not state.id or state.removed:
        raise Rejected("Unknown user", status=404, detail="there is no such user")

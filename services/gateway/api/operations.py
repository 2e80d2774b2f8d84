"""What the API shows of running the system: credentials, notifications, dead letters, users and their keys, projections."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel

Json = dict[str, Any]


class Credential(BaseModel):
    """A login that recordings use by its id. The names of what it keeps are shown, never a value."""

    id: str
    name: str
    domains: list[str]
    holds: list[str]
    version: int
    created_at: datetime
    updated_at: datetime


class Target(BaseModel):
    """A place notifications go to. Its address is not shown again; ``host`` tells it apart."""

    id: str
    kind: str
    name: str
    host: str
    events: list[str]
    enabled: bool
    version: int
    created_at: datetime
    updated_at: datetime


class Notification(BaseModel):
    """One message to one target. ``state``: pending, delivered or failed."""

    id: str
    target_id: str
    event_type: str
    event_id: str
    state: str
    attempts: int
    error: str
    requested_at: datetime
    ended_at: datetime | None


class DeadLetter(BaseModel):
    """A message that could not be handled. ``state``: buried, replayed or dropped."""

    id: str
    service: str
    state: str
    consumer: str
    message_id: str
    type: str
    subject: str
    error_type: str
    error: str
    deliveries: int
    buried_at: datetime
    closed_at: datetime | None


class User(BaseModel):
    """A person who may log in."""

    user_id: str
    username: str
    role: str
    version: int
    created_at: datetime


class ApiKey(BaseModel):
    """A key of a program."""

    key_id: str
    user_id: str
    name: str
    scopes: list[str]
    version: int
    created_at: datetime


class NewApiKey(ApiKey):
    """A key that was just made. ``key`` is shown this once."""

    key: str


class Projection(BaseModel):
    """A read model: the version of its tables and of the code, and up to where it is built."""

    name: str
    version: int
    code_version: int
    position: int
    state: str
    error: str
    built_at: datetime

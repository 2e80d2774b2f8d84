"""What people and programs do with accounts: each is one transaction of events and the secrets beside them."""

from __future__ import annotations

import asyncio
import os
import secrets
import string
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from chassis.database import Pool
from chassis.ids import new_key
from chassis.telemetry import new_metadata
from chassis.work import Work
from contracts.aggregate import Rejected
from contracts.envelope import Metadata
from contracts.gateway import Role

from services.gateway import domain
from services.gateway.adapters import tokens
from services.gateway.adapters.passwords import CONCURRENT, Passwords
from services.gateway.adapters.tokens import InvalidToken, Tokens
from services.gateway.domain import API_KEY, USER, Principal
from services.gateway.store import accounts as store

ADMIN = "admin"
QUERIES = store.QUERIES
_BOOTSTRAP_LOCK = 0x41444D49
log = structlog.get_logger(__name__)


class LoginRefused(Exception):
    """Wrong name or password, or a token that is not valid (any more)."""


class LoginThrottled(Exception):
    """Too many failed logins; the next one is looked at after ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"too many failed logins: try again in {seconds:.0f} s")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a login gives."""

    access_token: str
    refresh_token: str
    expires_in: int


_FIRST = string.ascii_letters + string.digits
"""Letters of a first password: nothing that a shell or an option parser would take for something else."""


class Accounts:
    """Users, keys and logins. ``unit(metadata)`` opens a unit of work, ``committed()`` wakes the relay."""

    def __init__(
        self,
        pool: Pool,
        unit: Callable[[Metadata], Work],
        committed: Callable[[], None],
        passwords: Passwords,
        issuer: Tokens,
        *,
        refresh_lifetime_s: int,
    ) -> None:
        self.pool, self.passwords, self.issuer, self.refresh_lifetime_s = pool, passwords, issuer, refresh_lifetime_s
        self._unit, self._committed = unit, committed
        self._password_file: Path | None = None
        self._attempts = asyncio.Semaphore(CONCURRENT)

    async def bootstrap(self, password: str, password_file: Path) -> None:
        """Create ``admin`` when there is no administrator; without a configured password, hand one over in a file only its owner can read."""
        self._password_file = password_file
        if await self.pool.fetchval(QUERIES["any_admin"]):
            return
        chosen = password or "".join(secrets.choice(_FIRST) for _ in range(20))
        domain.check_password(chosen)
        encoded = await self.passwords.hash(chosen)
        async with self._transaction(new_metadata(actor="system")) as work:
            connection = await work.begin()
            await connection.execute("select pg_advisory_xact_lock($1, hashtext(current_schema()))", _BOOTSTRAP_LOCK)
            if await connection.fetchval(QUERIES["any_admin"]):
                return
            if not password:
                _write_secret(password_file, chosen)
                log.info("gateway.first_start", username=ADMIN, handed_over_in=str(password_file))
            await self._create(work, new_key(), ADMIN, "admin", encoded)

    async def create_user(self, username: str, password: str, role: Role, metadata: Metadata) -> str:
        """Let a person in; returns the user's id. Raises Rejected (409 when the name is taken, 422 for a bad password)."""
        domain.check_password(password)
        encoded = await self.passwords.hash(password)
        async with self._transaction(metadata) as work:
            return await self._create(work, new_key(), username, role, encoded)

    async def _create(self, work: Work, user_id: str, username: str, role: Role, encoded: str) -> str:
        at = await work.load(USER, user_id)
        events = domain.decide_create_user(at.state, user_id, username, role)
        await work.append(at, events)
        if not await store.insert_user(work.connection, user_id, username, role, encoded, at.version + len(events)):
            raise Rejected("User exists", detail=f"the name {username} is taken")
        return user_id

    async def change_password(self, user_id: str, password: str, metadata: Metadata) -> None:
        """Replace a password and end every login of the user; a first password that was handed over in a file is forgotten with it."""
        domain.check_password(password)
        outdated = await self._is_first_password_of(user_id)
        encoded = await self.passwords.hash(password)
        async with self._transaction(metadata) as work:
            at = await work.load(USER, user_id)
            await work.append(at, domain.decide_change_password(at.state))
            await work.connection.execute(QUERIES["set_password"], user_id, encoded, at.version + 1)
            await work.connection.execute(QUERIES["revoke_logins_of"], user_id)
        if outdated and self._password_file is not None:
            self._password_file.unlink(missing_ok=True)

    async def _is_first_password_of(self, user_id: str) -> bool:
        if self._password_file is None or not self._password_file.exists():
            return False
        handed_over = self._password_file.read_text(encoding="utf-8").strip()
        return await self.passwords.verify(await self._password_of(user_id), handed_over)

    async def confirm(self, user_id: str, username: str, password: str, address: str) -> bool:
        """Whether this is the password of a user who is logged in; guesses count as those of a login do. Raises :class:`LoginThrottled`."""
        return await self._attempt(await self._password_of(user_id), password, username, address)

    async def _password_of(self, user_id: str) -> str | None:
        encoded: str | None = await self.pool.fetchval(QUERIES["password_of"], user_id)
        return encoded

    async def remove_user(self, user_id: str, metadata: Metadata) -> None:
        """Let a person in no more: keys and logins end with the user."""
        async with self._transaction(metadata) as work:
            at = await work.load(USER, user_id)
            admins = await store.lock_admins(work.connection)
            await work.append(at, domain.decide_remove_user(at.state, admins=admins))
            for key_id in await store.keys_of(work.connection, user_id):
                key = await work.load(API_KEY, key_id)
                await work.append(key, domain.decide_revoke_key(key.state))
            await work.connection.execute(QUERIES["delete_user"], user_id)

    async def create_key(self, user_id: str, name: str, scopes: tuple[str, ...], metadata: Metadata) -> tuple[str, str]:
        """Give a program a key; returns its id and its text, which is shown this once."""
        key_id = new_key()
        text, secret_hash = tokens.new_api_key(key_id)
        async with self._transaction(metadata) as work:
            user = await work.load(USER, user_id)
            at = await work.load(API_KEY, key_id)
            await work.append(at, domain.decide_create_key(at.state, key_id, user.state, name, scopes))
            await work.connection.execute(
                QUERIES["insert_key"], key_id, user_id, name, list(scopes), secret_hash, at.version + 1
            )
        return key_id, text

    async def revoke_key(self, key_id: str, metadata: Metadata) -> None:
        """Let a key open nothing any more."""
        async with self._transaction(metadata) as work:
            at = await work.load(API_KEY, key_id)
            await work.append(at, domain.decide_revoke_key(at.state))
            await work.connection.execute(QUERIES["delete_key"], key_id)

    async def login(self, username: str, password: str, address: str) -> TokenPair:
        """Open a login; raises :class:`LoginRefused` or :class:`LoginThrottled`."""
        row = await self.pool.fetchrow(QUERIES["credentials"], username)
        # Verified in any case: an unknown name must not answer faster than a known one.
        valid = await self._attempt(row["password_hash"] if row else None, password, username, address)
        if row is None or not valid:
            raise LoginRefused
        if self.passwords.outdated(row["password_hash"]):
            fresh = await self.passwords.hash(password)
            await self.pool.execute(QUERIES["rehash"], row["user_id"], fresh, row["password_hash"])
        family = new_key()
        token, token_hash = tokens.new_refresh_token()
        async with self.pool.acquire() as connection, connection.transaction():
            await store.open_login(connection, family, row["user_id"], token_hash, self.refresh_lifetime_s)
        return TokenPair(self.issuer.issue(row["user_id"], family), token, self.issuer.lifetime_s)

    async def _attempt(self, encoded: str | None, password: str, username: str, address: str) -> bool:
        """Whether a password is right, with its failures counted; raises :class:`LoginThrottled`.

        A few at a time, each looking anew: many that arrive at once must not all pass before the first has failed.
        """
        async with self._attempts:
            wait = await store.blocked_for(self.pool, username, address)
            if wait > 0:
                raise LoginThrottled(wait)
            if await self.passwords.verify(encoded, password):
                await store.forget_failures(self.pool, username, address)
                return True
            await store.count_failure(self.pool, username, address)
            return False

    async def refresh(self, refresh_token: str) -> TokenPair:
        """Exchange a refresh token; raises :class:`LoginRefused`, and ends the whole login when the token had been used before."""
        token, token_hash = tokens.new_refresh_token()
        async with self.pool.acquire() as connection, connection.transaction():
            old = tokens.digest(refresh_token)
            family = await store.rotate(connection, old, token_hash, self.refresh_lifetime_s)
            owner = await connection.fetchrow(QUERIES["login_owner"], family) if family else None
        # Raised after the commit: the end of a stolen login must be kept.
        if family is None or owner is None:
            raise LoginRefused
        return TokenPair(self.issuer.issue(owner["user_id"], family), token, self.issuer.lifetime_s)

    async def logout(self, family: str | None, refresh_token: str | None) -> None:
        """End a login, named by its access token or by its refresh token."""
        families = {family}
        if refresh_token:
            families.add(await self.pool.fetchval(QUERIES["family_of_token"], tokens.digest(refresh_token)))
        for one in families - {None}:
            await self.pool.execute(QUERIES["revoke_login"], one)

    async def identify(self, token: str) -> Principal:
        """Whose access token or API key this is; raises :class:`LoginRefused`. The role is that of this moment."""
        key = tokens.split_api_key(token)
        if key is not None:
            return await self._identify_key(*key)
        try:
            access = self.issuer.read(token)
        except InvalidToken:
            raise LoginRefused from None
        row = await self.pool.fetchrow(QUERIES["login_owner"], access.family)
        if row is None or row["user_id"] != access.user_id:
            raise LoginRefused
        return Principal(
            row["user_id"], row["username"], row["role"], family=access.family, expires_at=access.expires_at
        )

    async def _identify_key(self, key_id: str, secret_hash: bytes) -> Principal:
        row = await self.pool.fetchrow(QUERIES["key_owner"], key_id)
        if row is None or not secrets.compare_digest(bytes(row["secret_hash"]), secret_hash):
            raise LoginRefused
        return Principal(row["user_id"], row["username"], row["role"], frozenset(row["scopes"]))

    @asynccontextmanager
    async def _transaction(self, metadata: Metadata) -> AsyncIterator[Work]:
        work = self._unit(metadata)
        try:
            yield work
            await work.commit()
        except BaseException:
            await work.rollback()
            raise
        self._committed()


def _write_secret(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")

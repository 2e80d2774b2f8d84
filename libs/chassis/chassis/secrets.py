"""Secrets: sealed with the system key while they travel, stored with a data key of their own.

Deleting a secret's data key forgets the secret everywhere, backups of the table included as soon as the key is gone. AES-128-CBC with
HMAC-SHA256 as specified by Fernet.
"""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken


class SecretUnreadable(ValueError):
    """The text was not sealed with this key, or it was changed."""


def new_system_key() -> str:
    """A fresh system key, URL-safe base64 of 32 random bytes."""
    return Fernet.generate_key().decode()


class SystemKey:
    """Seals and opens with the key that all services share. Raises ValueError when the key is not one."""

    def __init__(self, key: str) -> None:
        try:
            self._fernet = Fernet(key)
        except ValueError as error:
            raise ValueError(
                "the secret key must be 32 random bytes in URL-safe base64: see `aircheck new-key`"
            ) from error

    def seal(self, text: str) -> str:
        """Encrypt a text for the bus or the database."""
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Decrypt; raises :class:`SecretUnreadable`."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise SecretUnreadable("sealed with another key or damaged") from error

    def wrap_new_data_key(self) -> str:
        """A new data key, itself sealed, to be stored beside what it encrypts."""
        return self.seal(new_system_key())

    def with_data_key(self, wrapped: str) -> SystemKey:
        """The box that a wrapped data key opens."""
        return SystemKey(self.open(wrapped))

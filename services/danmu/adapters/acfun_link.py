"""The encrypted link under AcFun's chat, as pure code: packets, headers, keys.

A packet is {magic ABCD0001, length of the header u32, length of the body u32} big-endian, a protobuf ``PacketHeader`` {1 app, 2 uid,
3 instance, 7 length of the plain body, 8 encryption, 9 token {1 type, 2 token}, 10 sequence, 12 product} and a body: 16 bytes of IV and
AES-128 in CBC mode with PKCS #7 padding. Encryption 1 is with the visitor's security key (to register), 2 with the key that the answer
to that brings. Inside, up: {1 command, 2 sequence, 3 retries, 4 payload, 9 business}; down: {1 command, 3 error, 4 payload}. Source:
the live page's script as described by the open-source clients of the platform.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from services.danmu.adapters import protobuf
from services.danmu.adapters.protobuf import InvalidMessage
from services.danmu.adapters.webcast import field, number, raw

APP: Final = 13
PRODUCT: Final = "ACFUN_APP"
BUSINESS: Final = "mainApp"
SERVICE_TOKEN: Final = 1
SESSION_KEY: Final = 2
KEY_BYTES: Final = 16
MAX_PACKETS: Final = 1024
"""In one frame."""

_PREFIX: Final = Struct(">III")
_MAGIC: Final = 0xABCD0001
_MAX_UID: Final = (1 << 63) - 1


class Down(NamedTuple):
    """What one packet from the server says. `sequence` is that of its header."""

    command: str
    error: int
    payload: bytes
    sequence: int


class Link:
    """One connection's keys and numbers. `chance` gives random bytes."""

    def __init__(self, uid: int, token: str, security_key: bytes, chance: Callable[[int], bytes]) -> None:
        self._uid, self._token, self._chance = uid, token.encode(), chance
        self._keys = {SERVICE_TOKEN: security_key}
        self._instance = 0
        self._sequence = 0

    @property
    def registered(self) -> bool:
        """Whether the key of the session is known."""
        return SESSION_KEY in self._keys

    def register(self, instance: int, key: bytes) -> None:
        """The answer to the registration. Raises InvalidMessage for a key that is none."""
        if len(key) != KEY_BYTES or not 0 <= instance <= _MAX_UID:
            raise InvalidMessage("a session key that is none")
        self._instance, self._keys[SESSION_KEY] = instance, key

    def pack(self, command: str, payload: bytes, *, answers: int | None = None) -> bytes:
        """One packet; `answers`: the sequence of the push that it acknowledges, which uses up no number of our own."""
        if answers is None:
            self._sequence += 1
        encryption = SESSION_KEY if self.registered else SERVICE_TOKEN
        body = b"".join(
            (
                field(1, command.encode()),
                number(2, self._sequence),
                number(3, 1),
                field(4, payload),
                field(9, BUSINESS.encode()),
            )
        )
        sealed = _seal(body, self._keys[encryption], self._chance(KEY_BYTES))
        token = field(9, number(1, 1) + field(2, self._token)) if encryption == SERVICE_TOKEN else b""
        sequence = self._sequence if answers is None else answers
        header = b"".join(
            (
                number(1, APP),
                number(2, self._uid),
                number(3, self._instance),
                number(7, len(body)),
                number(8, encryption),
                token,
                number(10, sequence),
                field(12, PRODUCT.encode()),
            )
        )
        return _PREFIX.pack(_MAGIC, len(header), len(sealed)) + header + sealed

    def unpack(self, frame: bytes) -> Iterator[Down]:
        """The packets of a frame, one after the other. Raises InvalidMessage at what is none, after those before it."""
        at = 0
        for _ in range(MAX_PACKETS):
            if at == len(frame):
                return
            if at + _PREFIX.size > len(frame):
                raise InvalidMessage("a packet shorter than its prefix")
            magic, header_bytes, body_bytes = _PREFIX.unpack_from(frame, at)
            start = at + _PREFIX.size
            at = start + header_bytes + body_bytes
            if magic != _MAGIC or at > len(frame):
                raise InvalidMessage("not a packet")
            yield self._read(frame[start : start + header_bytes], frame[start + header_bytes : at])
        raise InvalidMessage("too many packets")

    def _read(self, head: bytes, sealed: bytes) -> Down:
        header = protobuf.parse(head)
        encryption = protobuf.integer(header, 8)
        body = sealed
        if encryption:
            key = self._keys.get(encryption)
            if key is None:
                raise InvalidMessage("a packet under a key that is not known")
            body = _open(sealed, key)
        down = protobuf.parse(body)
        command = protobuf.text(down, 1)[:64]
        return Down(command, protobuf.integer(down, 3), raw(down, 4), protobuf.integer(header, 10))


def _seal(plain: bytes, key: bytes, iv: bytes) -> bytes:
    padder = PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return iv + encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


def _open(sealed: bytes, key: bytes) -> bytes:
    """Raises InvalidMessage."""
    iv, body = sealed[:KEY_BYTES], sealed[KEY_BYTES:]
    if len(iv) != KEY_BYTES or not body or len(body) % KEY_BYTES:
        raise InvalidMessage("a body that is no ciphertext")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    unpadder = PKCS7(128).unpadder()
    try:
        return unpadder.update(decryptor.update(body) + decryptor.finalize()) + unpadder.finalize()
    except ValueError as error:
        raise InvalidMessage("a body under another key") from error

"""AES-128 as HLS uses it: CBC with PKCS#7 padding over the whole segment (RFC 8216 §4.3.2.4)."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

BLOCK_BYTES = 16


class DecryptionError(ValueError):
    """The bytes are not what this key and initialisation vector encrypted."""


def decrypt_aes128(data: bytes, key: bytes, iv: bytes) -> bytes:
    """Decrypt one whole segment; ``key`` and ``iv`` are 16 bytes each. Raises DecryptionError."""
    if len(key) != BLOCK_BYTES or len(iv) != BLOCK_BYTES:
        raise DecryptionError("an AES-128 key and its initialisation vector have 16 bytes each")
    if not data or len(data) % BLOCK_BYTES:
        raise DecryptionError("the segment is not a whole number of cipher blocks: it is cut short or not encrypted")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    unpadder = PKCS7(BLOCK_BYTES * 8).unpadder()
    try:
        return unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize()
    except ValueError as error:
        raise DecryptionError("the padding is wrong: another key, or a damaged segment") from error

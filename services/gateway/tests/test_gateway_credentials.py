"""Passwords, tokens and keys."""

from __future__ import annotations

import jwt
import pytest
from chassis.secrets import new_system_key
from pydantic import ValidationError

from services.gateway.adapters.passwords import Passwords
from services.gateway.adapters.tokens import InvalidToken, Tokens, digest, new_api_key, new_refresh_token, split_api_key
from services.gateway.settings import GatewaySettings


async def test_a_password_is_verified_by_its_hash_alone():
    passwords = Passwords(memory_kib=8192, time_cost=1)
    encoded = await passwords.hash("a long password")

    assert encoded.startswith("$argon2id$") and "a long password" not in encoded
    assert await passwords.verify(encoded, "a long password")
    assert not await passwords.verify(encoded, "another password")
    assert not await passwords.verify(None, "a long password")
    assert not await passwords.verify("not a hash", "a long password")
    assert not passwords.outdated(encoded) and Passwords(memory_kib=8192, time_cost=2).outdated(encoded)


def test_access_tokens_say_who_and_until_when():
    tokens = Tokens(new_system_key(), lifetime_s=60)

    access = tokens.read(tokens.issue("u", "f"))

    assert (access.user_id, access.family) == ("u", "f")


def test_tokens_of_others_are_refused():
    key = new_system_key()
    tokens = Tokens(key, lifetime_s=60)
    claims = {"iss": "aircheck", "aud": "aircheck-api", "sub": "u", "fam": "f", "exp": 99_999_999_999}
    signed_with_the_system_key = jwt.encode(claims, key, algorithm="HS256")
    unsigned = jwt.encode(claims, None, algorithm="none")
    expired = Tokens(key, lifetime_s=-1).issue("u", "f")
    other_audience = jwt.encode({**claims, "aud": "x"}, tokens._key, algorithm="HS256")

    for token in (
        signed_with_the_system_key,
        unsigned,
        expired,
        other_audience,
        "",
        "a.b.c",
        Tokens(new_system_key(), lifetime_s=60).issue("u", "f"),
    ):
        with pytest.raises(InvalidToken):
            tokens.read(token)


def test_replicas_with_the_same_key_read_each_other():
    key = new_system_key()

    assert Tokens(key, lifetime_s=60).read(Tokens(key, lifetime_s=60).issue("u", "f")).user_id == "u"


def test_keys_and_refresh_tokens_are_stored_as_hashes():
    text, stored = new_api_key("0" * 32)
    token, token_hash = new_refresh_token()

    assert split_api_key(text) == ("0" * 32, stored) and len(stored) == 32
    assert digest(token) == token_hash and token not in repr(token_hash)
    assert split_api_key(text + "x") is None and split_api_key("ack_1_2") is None


def test_the_gateway_does_not_start_without_the_system_key(monkeypatch):
    monkeypatch.delenv("GATEWAY_SECRET_KEY", raising=False)
    with pytest.raises(ValidationError, match="signs tokens"):
        GatewaySettings(database_dsn="postgresql://x")

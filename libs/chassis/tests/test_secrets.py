"""Sealing between services, and data keys whose deletion forgets a secret."""

from __future__ import annotations

import pytest
from chassis.secrets import SecretUnreadable, SystemKey, new_system_key


def test_what_is_sealed_is_opened_by_the_same_key_only() -> None:
    key, text = new_system_key(), "cookie: 主播=1"
    sealed = SystemKey(key).seal(text)
    assert text not in sealed
    assert SystemKey(key).open(sealed) == text
    with pytest.raises(SecretUnreadable):
        SystemKey(new_system_key()).open(sealed)


def test_a_text_is_never_sealed_alike_twice() -> None:
    key = SystemKey(new_system_key())
    assert key.seal("x") != key.seal("x")


@pytest.mark.parametrize("damage", ["", "x", "gAAAA", "主播"])
def test_what_was_changed_is_not_opened(damage: str) -> None:
    key = SystemKey(new_system_key())
    with pytest.raises(SecretUnreadable):
        key.open(damage)
    sealed = key.seal("x")
    with pytest.raises(SecretUnreadable):
        key.open(sealed[:-5] + ("A" if sealed[-5] != "A" else "B") + sealed[-4:])


@pytest.mark.parametrize("key", ["", "short", "主播", "x" * 44, "A" * 42 + "=="])
def test_what_is_no_key_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(ValueError, match="32 random bytes") as error:
        SystemKey(key)
    assert not key or key not in str(error.value)


def test_a_data_key_opens_its_own_secrets_and_is_useless_without_the_system_key() -> None:
    system = SystemKey(new_system_key())
    first, second = system.wrap_new_data_key(), system.wrap_new_data_key()
    sealed = system.with_data_key(first).seal("secret")
    assert system.with_data_key(first).open(sealed) == "secret"
    with pytest.raises(SecretUnreadable):
        system.with_data_key(second).open(sealed)
    with pytest.raises(SecretUnreadable):
        system.open(sealed)
    with pytest.raises(SecretUnreadable):
        SystemKey(new_system_key()).with_data_key(first)

"""Users and keys: given events, when asked, then events or a refusal."""

from __future__ import annotations

import pytest
from contracts.aggregate import Rejected
from contracts.gateway import ApiKeyCreated, ApiKeyRevoked, PasswordChanged, UserCreated, UserRemoved

from services.gateway import domain
from services.gateway.domain import API_KEY, USER, Principal, User

CREATED = UserCreated(user_id="u", username="ann", role="admin")
REMOVED = UserRemoved(user_id="u")
KEY = ApiKeyCreated(key_id="k", user_id="u", name="ci", scopes=("streamers:read",))


def test_a_new_user_is_created():
    assert domain.decide_create_user(User(), "u", "ann", "admin") == [CREATED]


def test_an_id_is_used_once():
    with pytest.raises(Rejected):
        domain.decide_create_user(USER.fold([CREATED]), "u", "bob", "viewer")


def test_a_password_changes_for_a_user_who_exists():
    assert domain.decide_change_password(USER.fold([CREATED])) == [PasswordChanged(user_id="u")]
    for events in ([], [CREATED, REMOVED]):
        with pytest.raises(Rejected) as refused:
            domain.decide_change_password(USER.fold(events))
        assert refused.value.problem.status == 404


def test_the_last_administrator_stays():
    given = USER.fold([CREATED])

    assert domain.decide_remove_user(given, admins=2) == [REMOVED]
    with pytest.raises(Rejected):
        domain.decide_remove_user(given, admins=1)


def test_a_viewer_may_always_be_removed():
    viewer = USER.fold([UserCreated(user_id="u", username="v", role="viewer")])

    assert domain.decide_remove_user(viewer, admins=1) == [REMOVED]


def test_a_key_is_made_and_revoked_once():
    user, empty = USER.fold([CREATED]), API_KEY.initial

    assert domain.decide_create_key(empty, "k", user, "ci", ("streamers:read",)) == [KEY]
    assert domain.decide_revoke_key(API_KEY.fold([KEY])) == [ApiKeyRevoked(key_id="k")]
    with pytest.raises(Rejected):
        domain.decide_revoke_key(API_KEY.fold([KEY, ApiKeyRevoked(key_id="k")]))


@pytest.mark.parametrize("scopes", [(), ("streamers",), ("streamers:own",), ("nothing:read",), ("*:read", "x:y")])
def test_scopes_that_do_not_exist_are_refused(scopes):
    with pytest.raises(Rejected) as refused:
        domain.decide_create_key(API_KEY.initial, "k", USER.fold([CREATED]), "ci", scopes)
    assert refused.value.problem.status == 422


@pytest.mark.parametrize(
    ("role", "scopes", "asked", "allowed"),
    [
        ("viewer", None, ("viewer", "streamers", "read"), True),
        ("viewer", None, ("operator", "streamers", "write"), False),
        ("admin", None, ("admin", "users", "write"), True),
        ("admin", {"streamers:read"}, ("viewer", "streamers", "read"), True),
        ("admin", {"streamers:read"}, ("operator", "streamers", "write"), False),
        ("admin", {"streamers:write"}, ("viewer", "streamers", "read"), True),
        ("admin", {"streamers:write"}, ("viewer", "events", "read"), False),
        ("admin", {"*:read"}, ("viewer", "events", "read"), True),
        ("admin", {"*:read"}, ("operator", "streamers", "write"), False),
        ("viewer", {"*:write"}, ("operator", "streamers", "write"), False),
        ("nonsense", None, ("viewer", "streamers", "read"), False),
    ],
)
def test_what_a_principal_may_do(role, scopes, asked, allowed):
    principal = Principal("u", "ann", role, frozenset(scopes) if scopes is not None else None)

    assert (principal.refusal(*asked) is None) == allowed


@pytest.mark.parametrize("length", [0, domain.MIN_PASSWORD - 1, domain.MAX_PASSWORD + 1])
def test_passwords_have_bounds(length):
    domain.check_password("x" * domain.MIN_PASSWORD)
    with pytest.raises(Rejected):
        domain.check_password("x" * length)

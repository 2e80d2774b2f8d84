"""The WBI signature, against the worked example of the reference ("bilibili-API-collect", page "misc/sign/wbi")."""

from __future__ import annotations

import hashlib

import pytest
from chassis.wbi import InvalidKey, mixin_key, sign, signed_query

IMAGE = "https://i0.hdslb.com/bfs/wbi/7cd084941338484aae1ad9425b84077c.png"
SUB = "https://i0.hdslb.com/bfs/wbi/4932caff0ff746eab6f01bf08b70ac45.png"
KEY = "ea1db124af3c7062474693fa704f4ff8"


def test_the_key_of_the_worked_example() -> None:
    assert mixin_key(IMAGE, SUB) == KEY


def test_the_signature_of_the_worked_example() -> None:
    signed = sign({"foo": "114", "bar": "514", "zab": 1_919_810}, KEY, 1_702_204_169)

    assert signed["w_rid"] == "8f6f2b5b3d485fe1886cec6a0be8c5d4"
    assert list(signed) == ["bar", "foo", "wts", "zab", "w_rid"]


def test_the_query_of_the_worked_example() -> None:
    query = signed_query({"foo": "114", "bar": "514", "zab": 1_919_810}, KEY, 1_702_204_169)

    assert query == "bar=514&foo=114&wts=1702204169&zab=1919810&w_rid=8f6f2b5b3d485fe1886cec6a0be8c5d4"


def test_characters_that_the_site_filters_do_not_count() -> None:
    assert sign({"a": "x!'()*y"}, KEY, 1) == sign({"a": "xy"}, KEY, 1)


def test_a_space_is_signed_as_percent_20() -> None:
    """The reference: a space is %20, never a plus."""
    expected = hashlib.md5(b"a=one%20one&wts=1" + KEY.encode()).hexdigest()

    assert sign({"a": "one one"}, KEY, 1)["w_rid"] == expected


@pytest.mark.parametrize("image", ["https://i/short.png", f"https://i/{'x' * 40}.png", ""])
def test_addresses_without_a_key_are_refused(image: str) -> None:
    with pytest.raises(InvalidKey, match="32"):
        mixin_key(image, SUB)

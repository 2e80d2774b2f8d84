"""Which chat belongs to the address of a page."""

from __future__ import annotations

import pytest

from services.monitor.adapters.chats import chat_at, chat_of


@pytest.mark.parametrize("url", ["https://nobody.example/1", "ftp://www.douyu.com/1", "http://[", "", "https:///1"])
def test_an_unknown_page_has_no_chat(url: str) -> None:
    assert chat_of(url) is None


def test_two_functions_for_one_host_are_a_mistake() -> None:
    register = chat_at("twice.example")
    register(lambda page: None)

    with pytest.raises(ValueError, match="two chats"):
        register(lambda page: None)

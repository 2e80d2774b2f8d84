"""Statistics: what the sketches promise, and that going on after a restart gives the same."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media.chat.message import ChatMessage, MessageKind
from media.chat.sketches import Distinct, HeavyHitters
from media.chat.statistics import BUCKETS, SHOWN_TALKERS, ChatStatistics, InvalidState
from media.chat.words import words_of

START = 1_750_000_000_000
KEYS = st.lists(st.integers(0, 200).map(lambda n: str(min(n, 200 - n))), max_size=600)
ANY_TEXT = st.text(st.characters(), max_size=20)
MESSAGES = st.lists(
    st.builds(
        ChatMessage,
        st.sampled_from(MessageKind),
        st.integers(START, START + 10**8),
        user=ANY_TEXT,
        uid=ANY_TEXT,
        text=ANY_TEXT,
        gift=ANY_TEXT,
        price=st.integers(0, 10**9),
        currency=st.sampled_from(["CNY", "USD", ""]),
        quantity=st.integers(-3, 50),
    ),
    max_size=30,
)


def say(at_s: float, text: str = "hi", **more: object) -> ChatMessage:
    return ChatMessage(MessageKind.CHAT, START + round(at_s * 1000), text=text, **more)  # type: ignore[arg-type]


@given(KEYS)
def test_a_true_count_lies_between_the_count_and_its_error(keys: list[str]) -> None:
    hitters = HeavyHitters(20)
    for key in keys:
        hitters.add(key)
    truth = Counter(keys)

    top = hitters.top(100)

    assert len(top) <= 20
    assert all(one.weight - one.error <= truth[one.key] <= one.weight for one in top)
    if len(truth) < 20:
        assert {one.key: one.weight for one in top} == truth


def test_whoever_speaks_most_is_found_in_a_crowd() -> None:
    hitters = HeavyHitters(100)
    for number in range(50_000):
        hitters.add(f"passer-by {number}")
        if number % 25 == 0:
            hitters.add("regular", label=f"Ann {number}")

    (first,) = hitters.top(1)

    assert (first.key, first.label) == ("regular", "Ann 49975")
    assert first.weight - first.error <= 2000 <= first.weight


@pytest.mark.parametrize("count", [0, 1, 10, 1000, 100_000])
def test_different_ones_are_counted_within_a_few_per_cent(count: int) -> None:
    distinct = Distinct()
    for _ in range(2):
        for number in range(count):
            distinct.add(f"viewer {number}")

    assert distinct.estimate() == pytest.approx(count, rel=0.05)
    assert Distinct.from_text(distinct.to_text()).estimate() == distinct.estimate()


def test_words_are_those_that_say_something() -> None:
    assert words_of("主播这波操作太秀了 The GG is gg, 666 哈哈哈哈") == ["这波", "操作", "太秀", "gg"]
    assert words_of("!!! 1 2 3 ") == []


def test_what_a_chat_was_like() -> None:
    statistics = ChatStatistics()
    statistics.fold(say(number * 10, "hello there", uid="1", user="Ann") for number in range(30))
    statistics.fold(say(200 + number / 10, "goal", uid=str(number), user=f"v{number}") for number in range(50))
    paid = ChatMessage(MessageKind.SUPER_CHAT, START, uid="2", user="Bob", text="wow", price=30_000, currency="CNY")
    statistics.fold([paid, paid._replace(kind=MessageKind.GIFT, gift="rose", quantity=5, price=500)])

    report = statistics.report()

    assert report["messages"] == 82 and report["kinds"] == {"chat": 80, "gift": 1, "super_chat": 1}
    assert report["talkers"][0] == {"uid": "1", "user": "v1", "messages": 31, "error": 0}
    assert report["words"][0] == {"word": "goal", "messages": 50, "error": 0}
    assert report["gifts"] == [{"gift": "rose", "count": 5, "error": 0}]
    assert report["paid"] == [{"currency": "CNY", "amount": 30_500, "payments": 2}]
    assert report["chatters"] == 50
    assert (report["bucket_s"], sum(report["rate"]), report["rate"][20]) == (10, 81, 51)
    assert [one["at_ms"] for one in report["highlights"]] == [START + 200_000]


def test_a_long_broadcast_is_counted_in_fewer_and_longer_steps() -> None:
    statistics = ChatStatistics()
    statistics.fold(say(minute * 60) for minute in range(24 * 60))

    report = statistics.report()

    assert report["bucket_s"] == 160 and len(report["rate"]) <= BUCKETS
    assert sum(report["rate"]) == 24 * 60


def test_memory_does_not_grow_with_the_crowd() -> None:
    statistics = ChatStatistics()
    statistics.fold(say(n / 100, f"word{n} other{n}", uid=str(n), user=f"viewer {n}") for n in range(20_000))
    at_first = len(statistics.state())
    statistics.fold(say(n / 100, f"word{n} other{n}", uid=str(n), user=f"viewer {n}") for n in range(20_000, 60_000))

    assert len(statistics.state()) < 1.3 * at_first
    assert len(statistics.report()["talkers"]) == SHOWN_TALKERS


@settings(max_examples=50)
@given(MESSAGES, st.integers(0, 30))
def test_going_on_after_a_restart_gives_the_same(messages: list[ChatMessage], at: int) -> None:
    whole, first = ChatStatistics(), ChatStatistics()
    whole.fold(messages)
    first.fold(messages[:at])

    second = ChatStatistics.restore(first.state())
    second.fold(messages[at:])

    assert second.report() == whole.report()
    assert second.state() == whole.state()


@pytest.mark.parametrize(
    "state", [b"", b"x", ChatStatistics().state()[:-5], __import__("zlib").compress(b'{"version":99}')]
)
def test_a_damaged_or_foreign_state_is_refused(state: bytes) -> None:
    with pytest.raises(InvalidState):
        ChatStatistics.restore(state)

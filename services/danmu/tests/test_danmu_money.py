"""Amounts as pages show them: the locales' separators, symbols and codes, and what is no amount."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters.money import parse_amount


@pytest.mark.parametrize(
    ("shown", "thousandths", "currency"),
    [
        ("$5.00", 5_000, "USD"),
        ("$1,234.56", 1_234_560, "USD"),
        ("CA$1,234.50", 1_234_500, "CAD"),
        ("A$2.00", 2_000, "AUD"),
        ("NT$75.00", 75_000, "TWD"),
        ("€10.00", 10_000, "EUR"),
        ("5,00\u00a0€", 5_000, "EUR"),
        ("1.234,50 €", 1_234_500, "EUR"),
        ("1\u202f234,50 €", 1_234_500, "EUR"),
        ("CHF 1’234.50", 1_234_500, "CHF"),
        ("¥1,000", 1_000_000, "JPY"),
        ("￥500", 500_000, "JPY"),
        ("₩50,000", 50_000_000, "KRW"),
        ("₹1,00,000.00", 100_000_000, "INR"),
        ("R$ 20,00", 20_000, "BRL"),
        ("SEK 50.00", 50_000, "SEK"),
        ("PHP 1,000.00", 1_000_000, "PHP"),
        ("KWD 1.500", 1_500, "KWD"),
        ("KWD 1,234.500", 1_234_500, "KWD"),
        ("100 RUB", 100_000, "RUB"),
        ("20,00 zł", 20_000, "PLN"),
        ("£0.99", 990, "GBP"),
        ("\u200f$5", 5_000, "USD"),
        ("٥٫٥ €", 5_500, "EUR"),
    ],
)
def test_an_amount(shown: str, thousandths: int, currency: str) -> None:
    assert parse_amount(shown) == (thousandths, currency)


@pytest.mark.parametrize(
    "shown", ["", "free", "5.00", "5 gems", "$", "$$5.00", "$" + "5" * 80, "usd 5", "Thanks 5 times"]
)
def test_no_amount(shown: str) -> None:
    assert parse_amount(shown) == (0, "")


def test_an_amount_beyond_all_money_is_none() -> None:
    assert parse_amount("$" + "9" * 20) == (0, "USD")


@given(st.text(max_size=70))
def test_no_text_raises(shown: str) -> None:
    price, currency = parse_amount(shown)

    assert 0 <= price < 1 << 63
    assert price == 0 or currency


@given(st.integers(0, 10**9), st.integers(0, 99))
def test_what_a_locale_writes_is_read(whole: int, cents: int) -> None:
    english = f"${whole:,}.{cents:02}"
    german = english.removeprefix("$").translate({ord(","): ".", ord("."): ","}) + " €"

    assert parse_amount(english) == (whole * 1000 + cents * 10, "USD")
    assert parse_amount(german) == (whole * 1000 + cents * 10, "EUR")

"""Reads amounts of money as web pages show them to people: "$5.00", "5,00 €", "CA$1,234.50", "¥1,000", "KWD 1.500".

Sources: Unicode CLDR, currency symbols of the locale "en" (a bare ``$`` is USD, ``¥`` JPY; others carry a prefix), and ISO
4217 for codes and for the currencies whose smaller unit is a thousandth.
"""

from __future__ import annotations

import re
from typing import Final

MAX_SHOWN: Final = 64
"""Characters of a text that can be an amount."""

_SYMBOLS: Final = {
    "$": "USD", "US$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "￥": "JPY", "JP¥": "JPY", "CN¥": "CNY", "₩": "KRW",
    "￦": "KRW", "₹": "INR", "A$": "AUD", "AU$": "AUD", "CA$": "CAD", "C$": "CAD", "NT$": "TWD", "HK$": "HKD",
    "MX$": "MXN", "R$": "BRL", "NZ$": "NZD", "S$": "SGD", "SG$": "SGD", "₱": "PHP", "₽": "RUB", "₪": "ILS", "₫": "VND",
    "₺": "TRY", "₴": "UAH", "₦": "NGN", "฿": "THB", "₲": "PYG", "₡": "CRC", "₸": "KZT", "zł": "PLN", "Kč": "CZK",
    "Ft": "HUF", "Fr.": "CHF", "S/": "PEN", "S/.": "PEN", "Rp": "IDR", "RM": "MYR", "lei": "RON", "лв.": "BGN",
}  # fmt: skip
_THREE_DECIMALS: Final = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
_NUMBER: Final = re.compile(r"\d(?:[\d.,'’٫٬ \u00a0\u202f]*\d)?")
_GROUPERS: Final = re.compile(r"['’٬ \u00a0\u202f]")
_CODE: Final = re.compile(r"[A-Z]{3}")
_MAX_DIGITS: Final = 15
_MARKS: Final = " \u00a0\u202f\u200e\u200f\u061c"


def parse_amount(shown: str) -> tuple[int, str]:
    """The amount in thousandths and its currency's ISO 4217 code; (0, "") for what is no amount of a known currency."""
    if len(shown) > MAX_SHOWN:
        return 0, ""
    match = _NUMBER.search(shown)
    if match is None:
        return 0, ""
    currency = _currency(shown[: match.start()].strip(_MARKS)) or _currency(shown[match.end() :].strip(_MARKS))
    return (_thousandths(match[0], currency), currency) if currency else (0, "")


def _currency(symbol: str) -> str:
    if symbol in _SYMBOLS:
        return _SYMBOLS[symbol]
    return symbol if _CODE.fullmatch(symbol) else ""


def _thousandths(number: str, currency: str) -> int:
    """A separator that comes once, with other than three digits behind it, is the decimal one; so is the last of two kinds."""
    number = _GROUPERS.sub("", number).replace("٫", ",")
    at = max(number.rfind("."), number.rfind(","))
    whole, decimals = number, ""
    if at >= 0:
        mark, rest = number[at], number[at + 1 :]
        mixed = ("." if mark == "," else ",") in number
        if mixed or (number.count(mark) == 1 and (len(rest) != 3 or currency in _THREE_DECIMALS)):
            whole, decimals = number[:at], rest
    whole = whole.replace(".", "").replace(",", "")
    if len(whole) > _MAX_DIGITS:
        return 0
    return int(whole or "0") * 1000 + int((decimals + "000")[:3])

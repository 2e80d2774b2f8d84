from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media.naming import MAX_PART_BYTES, BadTemplate, check_template, render, sanitise

AT = datetime(2026, 11, 21, 20, 15, 3, tzinfo=UTC)
VALUES = {"streamer": "Ann", "title": "Hello: world?", "platform": "bilibili", "session": "s1"}


def test_fields_are_filled_and_values_sanitised():
    path = render("{streamer}/{date}/{time} {title} {index:03}", VALUES, at=AT, index=7)
    assert str(path) == "Ann/2026-11-21/20-15-03 Hello_ world_ 007"


@pytest.mark.parametrize(
    "template",
    [
        "../{index}",
        "/etc/{index}",
        "a/../{index}",
        "{title.__class__}{index}",
        "{nope}{index}",
        "~/x{index}",
        "a\\{index}",
        "{title}",
        "a//{index}",
        "{index",
        "./{index}",
    ],
)
def test_a_template_that_leads_outside_or_names_the_unknown_is_refused(template):
    with pytest.raises(BadTemplate):
        check_template(template)


@pytest.mark.parametrize("value", ["..", "../..", "/etc/passwd", "a\x00b", "CON", "con.txt", "", " . ", "\ud800"])
def test_no_value_leads_outside(value):
    part = sanitise(value)
    assert part not in ("", ".", "..") and "/" not in part and "\x00" not in part
    part.encode()


@given(st.text(max_size=400), st.integers(0, 10**6))
def test_every_part_is_bounded_and_numbers_survive(title, index):
    path = render("{title}/{title} {index}", {**VALUES, "title": title}, at=AT, index=index)
    assert len(path.parts) == 2
    assert all(0 < len(part.encode()) <= MAX_PART_BYTES for part in path.parts)
    assert path.name.endswith(str(index))

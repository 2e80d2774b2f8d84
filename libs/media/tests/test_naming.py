from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media.naming import MAX_PART_BYTES, BadTemplate, check_template, render, sanitise

AT = datetime(2026, 11, 21, 20, 15, 3, tzinfo=UTC)
VALUES = {"streamer": "Ann", "title": "Hello: world?", "platform": "bilibili", "category": "Games", "session": "s1"}


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


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("%Y-%m-%d %H%M%S %i", "2026-11-21 201503 007"),
        ("{category} %j {index}", "Games 325 7"),
        ("100%% %Q %i", "100% %Q 007"),
        ("%t-{index:02}", f"{int(AT.timestamp())}-07"),
    ],
)
def test_tokens_of_strftime_are_filled_beside_the_fields(template, name):
    assert str(render(template, VALUES, at=AT, index=7)) == name


def test_a_percent_sign_in_a_title_is_no_token():
    assert str(render("{title} %i", {**VALUES, "title": "50%Y"}, at=AT, index=1)) == "50%Y 001"


@pytest.mark.parametrize("number", ["{index:03}", "%i"])
def test_a_name_that_is_too_long_keeps_its_number_within_the_limit_in_bytes(number):
    names = {render("{title} " + number, {**VALUES, "title": "\u6f22" * 300}, at=AT, index=index) for index in (1, 2)}
    assert len(names) == 2
    assert all(len(name.name.encode()) <= MAX_PART_BYTES for name in names)


def test_names_that_windows_keeps_for_itself_are_changed():
    assert str(render("{title}/x {index}", {**VALUES, "title": "LPT1.txt"}, at=AT, index=1)) == "_LPT1.txt/x 1"

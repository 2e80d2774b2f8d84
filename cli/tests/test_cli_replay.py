import json
from datetime import UTC, datetime

import pytest
import typer
from aircheck.main import app
from aircheck.replay import all_aggregates, changes, fold, from_file, plain, until
from contracts.monitor import SessionClosed, SessionOpened, SessionSuspended
from contracts.system import SERVICES
from typer.testing import CliRunner


def stored(position, event, minute):
    return {
        "position": position,
        "type": event.full_type(),
        "time": datetime(2026, 11, 21, 20, minute, tzinfo=UTC).isoformat(),
        "data": json.loads(event.to_json()),
    }


HISTORY = [
    stored(
        5,
        SessionOpened(
            session_id="s",
            streamer_id="a",
            streamer_name="n",
            url="u",
            platform="p",
            title="t",
            category="c",
            started_at="x",
        ),
        0,
    ),
    stored(
        7, SessionSuspended(session_id="s", streamer_id="a", suspended_at="2026-11-21T20:01:00+00:00", grace_s=60), 1
    ),
    stored(9, SessionClosed(session_id="s", streamer_id="a", reason="offline"), 2),
]


def test_history_leads_through_the_states_of_the_domain():
    states = [step.state for step in fold(HISTORY)]
    assert [one.open for one in states] == [True, True, False]
    assert states[1].suspended_at == datetime(2026, 11, 21, 20, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "positions"),
    [(None, [5, 7, 9]), ("7", [5, 7]), ("4", []), ("2026-11-21T20:01:30Z", [5, 7]), ("2026-11-21T20:00:00", [5])],
)
def test_history_up_to_a_position_or_a_time(at, positions):
    assert [step.position for step in until(fold(HISTORY), at)] == positions


def test_a_text_that_is_neither_is_refused():
    with pytest.raises(typer.BadParameter):
        list(until(fold(HISTORY), "yesterday"))


def test_a_history_that_was_saved_is_opened_without_a_system(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRCHECK_URL", "http://127.0.0.1:1")
    saved = tmp_path / "saved.jsonl"
    # given the newest first, among the events of others
    events = [{**event, "stream": "session-s"} for event in reversed(HISTORY)]
    events.insert(1, {**HISTORY[0], "stream": "session-other"})
    saved.write_text("".join(json.dumps(event) + "\n" for event in events))

    shown = CliRunner().invoke(app, ["replay", "state", "session-s", "--at", "7", "--json", "--file", str(saved)])

    assert json.loads(shown.stdout)["monitor"]["suspended_at"] == "2026-11-21 20:01:00+00:00"


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"stream": "session-s"}', '"x"'])
def test_a_file_that_is_no_history_is_refused_with_its_line(tmp_path, line):
    (tmp_path / "saved").write_text(f"{json.dumps({**HISTORY[0], 'stream': 'session-s'})}\n{line}\n")
    with pytest.raises(typer.BadParameter, match="line 2 of"):
        from_file(tmp_path / "saved", "session-s")


def test_a_retired_type_leaves_the_state_as_it_is():
    unknown = {**HISTORY[1], "type": "aircheck.monitor.session.forgotten.v9"}
    first, second = fold([HISTORY[0], unknown])
    assert first.state == second.state


def test_changes_name_each_value_that_differs():
    _, suspended, closed = fold(HISTORY)
    assert list(changes(suspended.state, closed.state)) == ["closed: false → true"]


def test_every_service_shows_its_aggregates_and_their_empty_states_are_json():
    found = all_aggregates()
    assert {service for service, _ in found} == set(SERVICES)
    for aggregate in found.values():
        json.dumps(plain(aggregate.initial))

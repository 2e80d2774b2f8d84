import json

import httpx
import pytest
from aircheck.api import Api, ApiError, NotLoggedIn
from aircheck.events import sse


def api(handler, **options):
    return Api("http://gateway", transport=httpx.MockTransport(handler), **{"token": "t", **options})


def test_every_request_carries_the_token():
    seen = []

    def handler(request):
        seen.append(request.headers["authorization"])
        return httpx.Response(200, json={"ok": True})

    assert api(handler).get("/api/health") == {"ok": True}
    assert seen == ["Bearer t"]


def test_pages_follow_the_cursor():
    def handler(request):
        cursor = request.url.params.get("cursor")
        return httpx.Response(
            200, json={"items": [{"n": 2}], "next": None} if cursor else {"items": [{"n": 1}], "next": "c"}
        )

    assert [one["n"] for one in api(handler).pages("/api/streamers")] == [1, 2]


def test_a_problem_becomes_one_line_with_its_detail():
    problem = {"title": "Address refused", "detail": "it is private", "status": 422}
    with pytest.raises(ApiError, match=r"Address refused: it is private \(422\)"):
        api(lambda _: httpx.Response(422, json=problem)).post("/api/streamers", {})


def test_an_answer_that_is_no_problem_document_is_shown_too():
    with pytest.raises(ApiError, match=r"proxy says no \(502\)"):
        api(lambda _: httpx.Response(502, text="proxy says no")).get("/x")


def test_nobody_there_says_how_to_start():
    def refuse(request):
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(ApiError, match="aircheck up"):
        api(refuse).get("/x")


def test_the_password_from_the_environment_is_exchanged_for_a_token(monkeypatch):
    monkeypatch.setenv("AIRCHECK_PASSWORD", "secret")
    monkeypatch.delenv("AIRCHECK_TOKEN", raising=False)

    def handler(request):
        if request.url.path == "/api/login":
            assert json.loads(request.content) == {"username": "admin", "password": "secret"}
            return httpx.Response(200, json={"access_token": "fresh"})
        return httpx.Response(200, json=request.headers["authorization"])

    assert api(handler, token=None).get("/x") == "Bearer fresh"


def test_without_any_login_the_next_step_is_named(monkeypatch, tmp_path):
    for name in ("AIRCHECK_PASSWORD", "AIRCHECK_ADMIN_PASSWORD", "AIRCHECK_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AIRCHECK_DATA", str(tmp_path))
    with pytest.raises(NotLoggedIn, match="AIRCHECK_TOKEN") as refusal:
        api(lambda _: httpx.Response(200), token=None).get("/x")
    # of a system whose password was chosen with AIRCHECK_ADMIN_PASSWORD, AIRCHECK_DATA is set and does not help
    assert f"no first password in {tmp_path}" in str(refusal.value)
    assert "AIRCHECK_PASSWORD" in str(refusal.value)


def test_server_sent_events_are_read_whole():
    lines = [
        ": hello",
        "retry: 3000",
        "",
        "id: 7",
        "event: x",
        'data: {"a":',
        "data: 1}",
        "",
        "id: 8",
        'data: {"a":2}',
        "",
    ]
    assert list(sse(iter(lines))) == [("7", {"a": 1}), ("8", {"a": 2})]

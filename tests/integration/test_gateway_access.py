"""Logging in, keys, roles, and errors."""

from __future__ import annotations

import asyncio
import stat

import httpx
import pytest
from contracts.config import StreamerAdded

from tests.deadline import DEADLINE_S
from tests.integration.gateway_stage import PASSWORD, logged_in, staged, until, url_of

pytestmark = pytest.mark.engines
PROBLEM = "application/problem+json"


@pytest.fixture
async def stage(nats_url, postgres_dsn, make_database, tmp_path):
    async with staged(nats_url, postgres_dsn, make_database, tmp_path) as stage:
        yield stage


@pytest.fixture
async def gateway(stage):
    service = await stage.gateway()
    yield service
    await service.stop()


@pytest.fixture
async def anonymous(gateway):
    async with httpx.AsyncClient(base_url=url_of(gateway), timeout=DEADLINE_S) as client:
        yield client


@pytest.fixture
async def admin(gateway):
    async with logged_in(gateway) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def login(client, username="admin", password=PASSWORD):
    return await client.post("/api/login", json={"username": username, "password": password})


async def test_a_first_start_without_password_hands_one_over_in_a_private_file(stage):
    service = await stage.gateway(admin_password="")
    try:
        path = stage.folder / "admin-password"
        async with logged_in(service, password=path.read_text().strip()) as client:
            me = (await client.get("/api/me")).json()
    finally:
        await service.stop()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (me["username"], me["role"], me["scopes"]) == ("admin", "admin", None)


async def test_nothing_is_shown_without_credentials(anonymous):
    paths = (await anonymous.get("/openapi.json")).json()["paths"]
    public = {"/api/login", "/api/refresh", "/api/logout", "/api/health/live", "/api/health/ready"}

    for path, operations in paths.items():
        for method in set(operations) if path not in public else ():
            address = path.replace("{position}", "1").replace("{", "x").replace("}", "x")
            answer = await anonymous.request(method, address)
            # A body that is missing is noticed before the caller is asked who they are; nothing is done or shown either way.
            assert answer.status_code in (401, 422), (method, path, answer.text)
            if method == "get":
                assert answer.status_code == 401, path
            assert answer.headers["content-type"] == PROBLEM


async def test_a_wrong_password_and_an_unknown_name_look_the_same(anonymous):
    wrong, unknown = await login(anonymous, password="something else"), await login(anonymous, "nobody")

    assert wrong.status_code == unknown.status_code == 401
    first, second = wrong.json(), unknown.json()
    assert {**first, "trace_id": ""} == {**second, "trace_id": ""}
    assert wrong.headers["www-authenticate"] == "Bearer"


@pytest.fixture
async def patient(gateway):
    """Who is to wait before the next attempt waits an hour longer, so that no machine is too slow to see it; returns how to be let in again."""
    await gateway.pool.execute(
        "create function wait_long() returns trigger language plpgsql as $$ begin"
        " if new.blocked_until > now() then new.blocked_until := new.blocked_until + interval '1 hour'; end if; return new; end $$;"
        "create trigger wait_long before insert or update on login_failures for each row execute function wait_long()"
    )

    async def hour_passes():
        await gateway.pool.execute("drop trigger wait_long on login_failures")
        await gateway.pool.execute("update login_failures set blocked_until = blocked_until - interval '1 hour'")

    return hour_passes


async def test_failed_logins_are_throttled_and_the_right_password_too(anonymous, patient):
    answers = [await login(anonymous, password="wrong wrong") for _ in range(5)]
    throttled = await login(anonymous)

    assert [answer.status_code for answer in answers] == [401] * 5
    assert throttled.status_code == 429 and int(throttled.headers["retry-after"]) >= 1

    await patient()

    async def let_in():
        return (await login(anonymous)).status_code == 200

    await until(let_in)


async def test_guesses_that_arrive_at_once_are_throttled_too(anonymous, patient):
    answers = await asyncio.gather(*(login(anonymous, password=f"a wrong password {n}") for n in range(12)))

    statuses = sorted(answer.status_code for answer in answers)
    # At most one more than the limit for each that is verified beside another.
    assert statuses.count(401) <= 6 and statuses.count(401) + statuses.count(429) == 12


async def test_guesses_of_the_own_password_are_throttled_as_those_of_a_login(admin, patient):
    me = (await admin.get("/api/me")).json()["user_id"]
    body = {"password": "another password", "current_password": "a wrong password"}

    answers = [(await admin.put(f"/api/users/{me}/password", json=body)).status_code for _ in range(6)]

    assert answers == [403] * 5 + [429]


async def test_a_refresh_token_works_once_and_its_reuse_ends_the_login(anonymous):
    first = (await login(anonymous)).json()

    second = await anonymous.post("/api/refresh", json={"refresh_token": first["refresh_token"]})
    stolen = await anonymous.post("/api/refresh", json={"refresh_token": first["refresh_token"]})
    third = await anonymous.post("/api/refresh", json={"refresh_token": second.json()["refresh_token"]})
    me = await anonymous.get("/api/me", headers=bearer(second.json()["access_token"]))

    assert second.status_code == 200 and second.json()["refresh_token"] != first["refresh_token"]
    assert (stolen.status_code, third.status_code, me.status_code) == (401, 401, 401)


async def test_logging_out_ends_the_access_token_too(admin):
    before = await admin.get("/api/me")
    out = await admin.post("/api/logout")
    after = await admin.get("/api/me")

    assert (before.status_code, out.status_code, after.status_code) == (200, 204, 401)


async def test_roles_are_enforced(stage, gateway, admin):
    await stage.publish(StreamerAdded(streamer_id="s", url="https://live.example.org", name="s", platform="direct"))
    for role in ("viewer", "operator"):
        answer = await admin.post("/api/users", json={"username": role, "password": PASSWORD, "role": role})
        assert answer.status_code == 201, answer.text
    body = {"url": "http://127.0.0.1/x"}  # refused by its address, for whoever may ask at all

    async with logged_in(gateway, "viewer") as viewer, logged_in(gateway, "operator") as operator:

        async def projected():
            return (await viewer.get("/api/streamers")).json()["items"]

        assert [item["id"] for item in await until(projected)] == ["s"]
        assert (await viewer.post("/api/streamers", json=body)).status_code == 403
        assert (await operator.post("/api/streamers", json=body)).status_code == 422
        assert (await operator.post("/api/republish", json={"service": "config"})).status_code == 403
        assert (await operator.get("/api/users")).status_code == 403
        execute = {"pipelines": {"segment": [{"id": "x", "processor": "execute"}]}}
        assert (await operator.put("/api/config", json=execute)).status_code == 403


async def test_a_key_opens_what_its_scopes_say_and_never_more_than_its_owner(gateway, admin):
    await admin.post("/api/users", json={"username": "eve", "password": PASSWORD, "role": "viewer"})
    async with logged_in(gateway, "eve") as eve:
        made = await eve.post("/api/api-keys", json={"name": "k", "scopes": ["streamers:write", "events:read"]})
        listed = (await eve.get("/api/api-keys")).json()["items"]
        wrong = await eve.post("/api/api-keys", json={"name": "k", "scopes": ["everything:write"]})
    key = made.json()["key"]
    async with httpx.AsyncClient(base_url=url_of(gateway), headers=bearer(key), timeout=DEADLINE_S) as program:
        reads = await program.get("/api/streamers")
        events = await program.get("/api/events")
        sessions = await program.get("/api/sessions")
        writes = await program.post("/api/streamers", json={"url": "https://live.example.org/1"})
        more = await program.post("/api/api-keys", json={"name": "k", "scopes": ["*:write"]})
        await admin.delete(f"/api/api-keys/{made.json()['key_id']}")
        after = await program.get("/api/streamers")

    assert made.status_code == 201 and "key" not in listed[0] and key not in str(listed)
    assert (reads.status_code, events.status_code) == (200, 200)
    assert (sessions.status_code, writes.status_code, more.status_code) == (403, 403, 403)
    assert wrong.status_code == 422 and after.status_code == 401


async def test_a_new_password_ends_every_login(gateway, admin):
    user_id = (await admin.get("/api/me")).json()["user_id"]
    path = f"/api/users/{user_id}/password"

    without = await admin.put(path, json={"password": "another long one"})
    changed = await admin.put(path, json={"password": "another long one", "current_password": PASSWORD})
    after = await admin.get("/api/me")

    assert (without.status_code, changed.status_code, after.status_code) == (403, 204, 401)
    async with logged_in(gateway, password="another long one") as client:
        assert (await client.get("/api/me")).status_code == 200


async def test_the_last_administrator_stays_and_a_removed_user_is_out(gateway, admin):
    me = (await admin.get("/api/me")).json()["user_id"]
    refused = await admin.delete(f"/api/users/{me}")
    made = await admin.post("/api/users", json={"username": "bob", "password": PASSWORD, "role": "admin"})
    taken = await admin.post("/api/users", json={"username": "bob", "password": PASSWORD, "role": "viewer"})

    async with logged_in(gateway, "bob") as bob:
        removed = await admin.delete(made.headers["location"])
        after = await bob.get("/api/me")

    assert (refused.status_code, taken.status_code, removed.status_code) == (409, 409, 204)
    assert after.status_code == 401


async def test_account_events_reach_the_store_without_secrets(gateway, admin):
    made = await admin.post("/api/api-keys", json={"name": "k", "scopes": ["*:read"]})

    async def told():
        items = (await admin.get("/api/events?type=gateway")).json()["items"]
        return len(items) == 2 and items

    user, key = await until(told)

    assert user["type"].endswith("user.created.v1") and key["data"]["scopes"] == ["*:read"]
    assert key["actor"] == "admin" and made.json()["key"] not in str(key)
    hashes = await gateway.pool.fetch(
        "select data::text from events union all select convert_from(payload, 'utf8') from outbox"
    )
    assert "argon2" not in str(hashes)


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/nothing/here", None, 404),
        ("GET", "/api/streamers/none", None, 404),
        ("GET", "/api/events/999999", None, 404),
        ("PUT", "/api/streamers", None, 405),
        ("POST", "/api/streamers", b'{"url": ', 400),
        ("POST", "/api/streamers", b"\xff\xfe", 400),
        ("POST", "/api/streamers", b"[" * 100_000, 400),
        ("POST", "/api/streamers", b'{"url": "https://a.example", "unknown": 1}', 422),
        ("POST", "/api/streamers", b'{"url": "https://a.example", "name": "\\u0000"}', 422),
        ("POST", "/api/streamers", b'{"url": "https://a.example", "layer": {"offline_grace_s": NaN}}', 422),
        ("POST", "/api/streamers", b" " * ((1 << 20) + 1), 413),
        ("GET", "/api/streamers?cursor=bm90IGEgY3Vyc29y", None, 400),
        ("GET", "/api/sessions?cursor=WzEsMl0", None, 400),
        ("GET", "/api/streamers?limit=0", None, 422),
        ("GET", "/api/streamers/a%00b", None, 400),
        ("GET", "/api/events?type=%00", None, 400),
        ("GET", "/api/events/stream?last_event_id=x", None, 400),
        ("GET", "/api/events?after=99999999999999999999", None, 422),
        ("GET", "/api/events/99999999999999999999", None, 422),
    ],
)
async def test_every_error_is_a_problem(admin, method, path, content, status):
    answer = await admin.request(method, path, content=content, headers={"Content-Type": "application/json"})

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    problem = answer.json()
    assert problem["status"] == status and problem["title"] and len(problem["trace_id"]) == 32
    assert problem["trace_id"] in answer.headers["traceparent"]
    assert "Traceback" not in answer.text and "asyncpg" not in answer.text


async def test_a_body_without_length_is_bounded_too(admin):
    async def endless():
        for _ in range(40):
            yield b" " * 65_536

    answer = await admin.post("/api/streamers", content=endless(), headers={"Content-Type": "application/json"})

    assert answer.status_code == 413


async def test_what_nobody_expected_is_a_500_without_its_reason(gateway, admin, monkeypatch):
    monkeypatch.setattr("services.gateway.api.sessions.views.sessions", None)

    answer = await admin.get("/api/sessions")

    assert answer.status_code == 500 and answer.headers["content-type"] == PROBLEM
    assert "NoneType" not in answer.text and answer.json()["trace_id"]


async def test_an_unreachable_database_is_a_503(engines, gateway, admin):
    await asyncio.to_thread(engines.postgres.stop)
    try:
        answer = await admin.get("/api/streamers")
    finally:
        await asyncio.to_thread(engines.postgres.restart)

    assert answer.status_code == 503 and answer.headers["content-type"] == PROBLEM

    async def back():
        return (await admin.get("/api/streamers")).status_code == 200

    await until(back)


async def test_pages_have_no_gap_and_no_repeat(stage, gateway, admin):
    names = [f"n{number % 4}" for number in range(10)]
    for number, name in enumerate(names):
        await stage.publish(
            StreamerAdded(
                streamer_id=f"s{number}", url=f"https://live.example.org/{number}", name=name, platform="direct"
            )
        )

    async def all_there():
        return len((await admin.get("/api/streamers")).json()["items"]) == 10

    await until(all_there)
    seen, address = [], "/api/streamers?limit=3"
    while address:
        answer = await admin.get(address)
        seen += [(item["name"], item["id"]) for item in answer.json()["items"]]
        address = answer.links["next"]["url"] if answer.links else None

    assert seen == sorted((name, f"s{number}") for number, name in enumerate(names))
    positions, cursor = [], ""
    while cursor is not None:
        page = (
            await admin.get(
                "/api/events", params={"limit": 4, "order": "desc", **({"cursor": cursor} if cursor else {})}
            )
        ).json()
        positions += [item["position"] for item in page["items"]]
        cursor = page["next"]
    assert positions == list(range(11, 0, -1))


async def test_pages_of_the_browser_need_nothing_from_elsewhere(gateway, anonymous):
    for path in ("/", "/docs", "/app.js", "/docs.js", "/style.css", "/icon.svg"):
        answer = await anonymous.get(path)
        assert answer.status_code == 200, path
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        text = answer.text.replace("http://www.w3.org/2000/svg", "").replace("https://live.example.org", "")
        assert "http://" not in text and "https://" not in text, path
        assert "<style" not in text and "style=" not in text and "onclick" not in text
        again = await anonymous.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304


async def test_the_documents_describe_what_there_is(gateway, anonymous):
    openapi = (await anonymous.get("/openapi.json")).json()
    asyncapi = (await anonymous.get("/asyncapi.json")).json()
    ready = await anonymous.get("/api/health/ready")
    metrics = (await anonymous.get("/metrics")).text

    assert openapi["openapi"].startswith("3.1") and "HTTPValidationError" not in openapi["components"]["schemas"]
    assert asyncapi["asyncapi"] == "3.0.0" and "monitor.session.opened.v1" in asyncapi["channels"]
    assert "aircheck_store_position" in metrics and 'route="/api/health/ready"' in metrics
    assert ready.json() == {"status": "ready"}

"""A credential's whole life: written over HTTP, kept sealed, told to a recorder, forgotten; its secrets are nowhere in clear."""

from __future__ import annotations

import json
import re

import asyncpg
import pytest
from chassis import bus
from chassis.accounts import Accounts, AccountUnavailable
from chassis.secrets import new_system_key

from services.config.app import build as build_config
from services.config.settings import ConfigSettings
from tests.deadline import DEADLINE_S
from tests.integration.gateway_stage import logged_in, staged

pytestmark = pytest.mark.engines

COOKIE, HEADER, PASSWORD = "c00kie-s3cret", "h3ader-s3cret", "pr0xy-s3cret"
STREAM_KEY, PASSPHRASE = "k3y-s3cret", "passphrase-s3cret"
BODY = {
    "name": "My account",
    "domains": ["example.org"],
    "cookies": {"SESSDATA": COOKIE},
    "headers": {"X-Token": HEADER},
    "proxy_user": "ann",
    "proxy_password": PASSWORD,
    "stream_key": STREAM_KEY,
    "passphrase": PASSPHRASE,
}


async def everything_in(dsn: str) -> str:
    """All rows of all tables of a database, as text."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "select format('%I.%I', schemaname, tablename) as name from pg_tables"
            " where schemaname not in ('pg_catalog', 'information_schema')"
        )
        rows = [await connection.fetch(f"select t::text as row from {table['name']} t") for table in tables]
        return "\n".join(row["row"] for found in rows for row in found)
    finally:
        await connection.close()


async def test_the_life_of_a_credential(nats_url, postgres_dsn, make_database, tmp_path, capfd):
    key, database = new_system_key(), make_database()
    async with staged(nats_url, postgres_dsn, make_database, tmp_path) as stage:
        config = build_config(ConfigSettings(database_dsn=database, nats_url=nats_url, secret_key=key))
        await config.start()
        gateway = await stage.gateway(secret_key=key)
        recorder = await bus.connect(nats_url, "downloader")
        accounts = Accounts(recorder, key, setting="DOWNLOADER_SECRET_KEY", timeout_s=DEADLINE_S)
        try:
            async with logged_in(gateway) as client:
                saved = await client.put("/api/credentials/mine", json=BODY)
                shown = await client.get("/api/credentials/mine")
                listed = await client.get("/api/credentials")
                login = await accounts.login("mine")
                changed = await client.put(
                    "/api/credentials/mine",
                    json={**BODY, "cookies": {"SESSDATA": "another"}},
                    headers={"If-Match": saved.headers["etag"]},
                )
                stale = await client.put(
                    "/api/credentials/mine", json=BODY, headers={"If-Match": saved.headers["etag"]}
                )
                later = await accounts.login("mine")
                events = await client.get("/api/events")
                kept = await everything_in(database)
                wrong = await client.put("/api/credentials/bad", json={**BODY, "headers": {"X-Token": f"{HEADER}\r\n"}})
                nowhere = await client.put("/api/credentials/bad", json={**BODY, "domains": []})
                removed = await client.delete("/api/credentials/mine")
                with pytest.raises(AccountUnavailable, match="there is no credential"):
                    await accounts.login("mine")
                gone = await client.get("/api/credentials/mine")
                forgotten = await everything_in(database)
        finally:
            await recorder.close()
            await gateway.stop()
            await config.stop()
    assert (saved.status_code, changed.status_code, stale.status_code) == (200, 200, 412)
    assert (wrong.status_code, nowhere.status_code, removed.status_code, gone.status_code) == (422, 422, 204, 404)
    assert (login.domains, login.cookies, login.headers) == (("example.org",), BODY["cookies"], BODY["headers"])
    assert (login.proxy_user, login.proxy_password) == ("ann", PASSWORD)
    assert (login.stream_key, login.passphrase) == (STREAM_KEY, PASSPHRASE)
    assert later.cookies == {"SESSDATA": "another"}
    assert shown.json()["holds"] == ["cookie SESSDATA", "header X-Token", "stream key", "passphrase", "proxy login"]
    assert [item["id"] for item in listed.json()["items"]] == ["mine"]
    answers = (saved, shown, listed, changed, stale, events, wrong, nowhere, removed, gone)
    told = "\n".join([*(answer.text for answer in answers), kept, *capfd.readouterr(), json.dumps(repr(login))])
    assert "credential.saved" in told, "the events were looked at"
    assert not [secret for secret in (COOKIE, HEADER, PASSWORD, STREAM_KEY, PASSPHRASE) if secret in told]
    sealed = set(re.findall(r"gAAAA[\w=-]+", kept))
    assert len(sealed) == 2, "the secrets and their key"
    assert not [one for one in sealed if one in forgotten]

"""The chat of a session over HTTP: its messages page by page, its files, what it was like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contracts import subjects
from contracts.danmu import ChatEnded, ChatFileCompleted, ChatPulse, ChatStarted, ChatSummarised, Statistics
from contracts.monitor import SessionOpened
from contracts.values import Artifact, EndReason
from media.chat.head import ChatHead
from media.chat.log import ChatLogWriter, LogHead
from media.chat.message import ChatMessage, MessageKind
from media.chat.statistics import ChatStatistics
from media.chat.timing import Timing

from tests.integration.gateway_stage import logged_in, staged, until

pytestmark = pytest.mark.engines
START = 1_750_000_000_000
IDS = {"session_id": "session1", "streamer_id": "s"}


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
async def client(gateway):
    async with logged_in(gateway) as client:
        yield client


def said(index: int, count: int) -> list[ChatMessage]:
    return [
        ChatMessage(MessageKind.CHAT, START + 1000 * number, user="Ann", uid="1", text=f"{index}/{number}")
        for number in range(count)
    ]


def file_of(folder: Path, index: int, messages: list[ChatMessage]) -> ChatFileCompleted:
    path = folder / f"{index}.chat.jsonl.gz"
    writer = ChatLogWriter(path, LogHead(ChatHead(), Timing(START, ((2000, 500),))))
    for message in messages:
        writer.append(message)
    size = writer.close()
    log = Artifact(uri=path.as_uri(), media_type="application/gzip", size=size)
    return ChatFileCompleted(
        **IDS, recording_id="r", index=index, log=log, xml=log, lines=len(messages), started_at="2026-01-01T00:00:00Z"
    )


def statistics(messages: list[ChatMessage]) -> Statistics:
    counted = ChatStatistics()
    counted.fold(messages)
    return Statistics.model_validate(counted.report())


async def opened(stage: Any) -> None:
    session = SessionOpened(
        **IDS, streamer_name="Ann", url="http://x/1", platform="p", title="t", category="c", chat=None,
        started_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    await stage.publish(session)
    await stage.publish(ChatStarted(**IDS, chat_kind="bilibili", worker="w", epoch=1))


async def answered(client: Any, path: str, wanted: Callable[[Any], bool]) -> Any:
    async def ask() -> Any:
        answer = await client.get(path)
        return answer.json() if answer.status_code == 200 and wanted(answer.json()) else None

    return await until(ask)


async def pages(client: Any, path: str) -> list[dict[str, Any]]:
    found, cursor = [], None
    while True:
        answer = await client.get(path, params={"limit": 40} | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next"]
        if cursor is None:
            return found


async def test_messages_come_page_by_page_over_all_files(stage, gateway, client, tmp_path) -> None:
    # given two finished files, one with a line that UTF-8 cannot hold
    await opened(stage)
    first, second = said(0, 250), [*said(1, 30), said(2, 1)[0]._replace(text="half \ud83d")]
    await stage.publish(file_of(tmp_path, 0, first), file_of(tmp_path, 1, []), file_of(tmp_path, 2, second), first=2)
    await answered(client, "/api/sessions/session1/chat/files", lambda one: one["files"] == 3)

    # when they are read
    found = await pages(client, "/api/sessions/session1/chat")

    # then every message is there once, at its place in the repaired video
    assert [one["message"]["text"] for one in found] == [*(one.text for one in first + second[:-1]), "half ?"]
    assert [(one["index"], one["line"]) for one in found] == [(0, n) for n in range(250)] + [(2, n) for n in range(31)]
    assert [one["offset_ms"] for one in found[:4]] == [0, 1000, 2000, 2500]
    bad = await client.get("/api/sessions/session1/chat", params={"cursor": "WzAsLTFd"})
    assert bad.status_code == 400


async def test_statistics_come_from_the_running_chat_and_then_from_its_end(stage, gateway, client) -> None:
    await opened(stage)
    path = "/api/sessions/session1/chat/stats"
    await answered(client, "/api/sessions/session1/chat/files", lambda one: one["state"] == "connected")
    assert (await client.get(path)).status_code == 404

    pulse = ChatPulse(**IDS, statistics=statistics(said(0, 3)))
    await stage.client.publish(subjects.of(pulse), pulse.to_json(), headers={"ce-type": pulse.full_type()})
    live = await answered(client, path, lambda one: one["messages"] == 3)
    assert (await client.get("/api/sessions/session1")).json()["chat"]["lines"] == 3
    summary = statistics(said(0, 5))
    end = ChatEnded(**IDS, reason=EndReason.OFFLINE, files=0, lines=5)
    await stage.publish(ChatSummarised(**IDS, statistics=summary), end, first=2)
    final = await answered(client, path, lambda one: one["messages"] == 5)

    assert live["talkers"] == [{"uid": "1", "user": "Ann", "messages": 3, "error": 0}]
    assert Statistics.model_validate(final) == summary


async def test_a_lost_log_is_said_and_a_session_without_chat_too(stage, gateway, client, tmp_path) -> None:
    await opened(stage)
    gone = file_of(tmp_path, 0, said(0, 1))
    (tmp_path / "0.chat.jsonl.gz").unlink()
    await stage.publish(gone, first=2)
    await answered(client, "/api/sessions/session1/chat/files", lambda one: one["files"] == 1)

    assert (await client.get("/api/sessions/session1/chat")).status_code == 503
    assert (await client.get("/api/sessions/other/chat")).status_code == 404

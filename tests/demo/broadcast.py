"""What the demo does to the system: settings, a webhook, a streamer, twenty seconds on air with chat."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.deadline import DEADLINE_S
from tests.studio import StudioProcess
from tests.system import Gateway

ROOM = "1001"
SINK = "demo"
LINES_PER_SECOND = 4
LAST_FILE_S = 2.0
OPENED = "downloader.recording.segment_opened.v1"


@dataclass
class Broadcast:
    """One run of the demo and everything it must be able to prove afterwards."""

    studio: StudioProcess
    gateway: Gateway
    bucket: Path
    seconds: float
    webhook_secret: str = field(default_factory=lambda: "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode())
    streamer_id: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    on_air_at: float = 0.0
    shown_ms: list[tuple[int, int]] = field(default_factory=list)
    """From when to when in ms the studio gave its media to each viewer."""
    _seen: asyncio.Condition = field(default_factory=asyncio.Condition)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of a short type, e.g. ``downloader.recording.segment_completed.v1``."""
        return [event["data"] for event in self.events if event["type"] == f"aircheck.{kind}"]

    async def note(self, event: dict[str, Any]) -> None:
        """Take note of an event of the system."""
        async with self._seen:
            self.events.append(event)
            self._seen.notify_all()

    async def wait_for(self, kind: str, timeout: float) -> dict[str, Any]:
        """The data of the first event of a short type; raises TimeoutError naming it."""
        return (await self.wait_for_all(kind, lambda _: True, timeout))[0]

    async def wait_for_all(
        self, kind: str, wanted: Callable[[dict[str, Any]], bool], timeout: float
    ) -> list[dict[str, Any]]:
        """The data of every event of a short type that is wanted, as soon as there is one; raises TimeoutError naming the type."""
        try:
            async with asyncio.timeout(timeout), self._seen:
                await self._seen.wait_for(lambda: any(wanted(data) for data in self.of(kind)))
        except TimeoutError:
            raise TimeoutError(f"no {kind} within {timeout:g} s") from None
        return [data for data in self.of(kind) if wanted(data)]

    async def prepare(self) -> None:
        """Configure short segments, processing and upload; register the webhook; add the streamer."""
        await self.studio.create_room(
            ROOM, title="Hello from the studio", category="Demo", streamer="Ann Example", segment_s=1.0
        )
        await self.gateway.call("PUT", "/api/config", self._layer())
        target = {
            "kind": "webhook",
            "name": "demo",
            "address": self.studio.sink_url(SINK),
            "secret": self.webhook_secret,
        }
        await self.gateway.call("POST", "/api/notifications/targets", target)
        added = await self.gateway.call("POST", "/api/streamers", {"url": self.studio.page_url(ROOM), "name": "Ann"})
        self.streamer_id = added["id"]

    async def go_on_air(self) -> None:
        """On air for the agreed time; chat flows as soon as the system listens."""
        await self.studio.put_on_air(ROOM)
        self.on_air_at = time.time()
        await self.wait_for(OPENED, DEADLINE_S)
        await self.studio.wait_for_room(ROOM, chatters=1, timeout=DEADLINE_S)
        count = 0
        while time.time() < self.on_air_at + self.seconds:
            count += 1
            await self.studio.say(
                ROOM, f"line {count}: a < b & c \u2603 \U0001f389", user=f"viewer {count % 7}", uid=count % 7 + 1
            )
            await asyncio.sleep(1 / LINES_PER_SECOND)
        # However late the recording began: there is a second file, long enough for a picture of its first second.
        await self.wait_for_all(OPENED, lambda one: one["index"] == 1, DEADLINE_S)
        await asyncio.sleep(LAST_FILE_S)
        self.shown_ms = (await self.studio.put_off_air(ROOM))["shown_ms"]

    def _layer(self) -> dict[str, Any]:
        upload = {"id": "upload", "processor": "upload", "after": ["remux"]}
        return {
            "check_interval_s": 1,
            "offline_grace_s": 2,
            "segment_seconds": 8,
            "file_template": "{streamer}/{date} {title}/{time} {index:03}",
            "upload_to": self.bucket.as_uri(),
            "pipelines": {
                "segment": [
                    {"id": "remux", "processor": "remux"},
                    {"id": "thumbnail", "processor": "thumbnail", "options": {"at_s": 1}, "after": ["remux"]},
                    upload,
                ]
            },
        }

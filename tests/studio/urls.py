"""The URLs of a studio that follow from its base URL."""

from __future__ import annotations

from typing import Literal


class StudioUrls:
    """Shared by the studio and its client."""

    url: str

    def flv_url(self, room: str) -> str:
        """The live FLV of a room, unsigned."""
        return f"{self.url}/live/{room}.flv"

    def hls_url(self, room: str, media_format: Literal["ts", "fmp4"] = "ts") -> str:
        """The live playlist of a room, unsigned."""
        return f"{self.url}/live/{room}/{media_format}/index.m3u8"

    def page_url(self, room: str) -> str:
        """The room page, by the room's id; the state's `urls.page` has the one with the number."""
        return f"{self.url}/bili/{room}"

    def plain_page_url(self, room: str) -> str:
        """A page that only a generic extractor reads, see `pages.py`."""
        return f"{self.url}/page/{room}"

    def sink_url(self, name: str) -> str:
        """Where to send webhooks."""
        return f"{self.url}/sink/{name}"

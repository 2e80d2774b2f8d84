"""What a chat file says about itself, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChatHead:
    """Whose chat it is. `live_started_at`: unix milliseconds, 0 = unknown."""

    platform: str = ""
    room_id: str = ""
    streamer: str = ""
    title: str = ""
    category: str = ""
    parent_category: str = ""
    live_started_at: int = 0
    recorder: str = "aircheck"

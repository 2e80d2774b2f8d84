"""What a person sets for Streamlink and yt-dlp reaches them, and goes before the wanted quality."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from chassis.foreign import ytdlp
from chassis.foreign.job import Job, Unplayable

from services.downloader.adapters.foreign import streamlink

STREAMS = {"best": "the best", "720p": "720 lines", "audio_only": "sound"}


class Site:
    """In a plugin's place: offers `STREAMS` to whoever sets the option ``door`` to ``open``, else nothing."""

    def __init__(self, session: Any, url: str, options: Any) -> None:
        self._open = options.get("door") == "open"

    def streams(self) -> dict[str, str]:
        return STREAMS if self._open else {}


def played(quality: str, **options: Any) -> Any:
    session = SimpleNamespace(resolve_url=lambda url: ("site", Site, url))
    return streamlink._stream(session, Job(url="http://site.example/1", quality=quality, options=options))


@pytest.mark.parametrize(
    ("quality", "stream", "expected"),
    [
        ("720p", "", "720 lines"),
        ("720p", "audio_only", "sound"),
        ("720p", "unheard of", "720 lines"),
        ("9000p", "", "the best"),
    ],
)
def test_the_stream_that_is_named_goes_before_the_quality(quality: str, stream: str, expected: str) -> None:
    assert played(quality, stream=stream, plugin={"door": "open"}) == expected


def test_options_of_the_plugin_reach_it() -> None:
    with pytest.raises(Unplayable, match="offline"):
        played("best", plugin={"door": "shut"})


def test_the_format_that_is_named_goes_before_the_quality() -> None:
    def selector(**options: Any) -> str:
        job = Job(url="http://site.example/1", quality="720p", options=options)
        return str(ytdlp._parameters(job)["format"])

    assert "720" in selector()
    assert selector(format="bestaudio/worst") == "bestaudio/worst"

"""What ffmpeg is told to dial: on its standard input, with the secrets of the account where they belong, and quoted."""

from __future__ import annotations

from pathlib import Path

import pytest
from chassis.accounts import Login
from chassis.egress import EgressPolicy
from contracts.engines import FfmpegOptions
from contracts.values import Selection, Source

from services.downloader.adapters.engine import SourceFailed
from services.downloader.adapters.ffmpeg import FfmpegFeed
from services.downloader.adapters.network import Access

LOGIN = Login(domains=("127.0.0.1",), stream_key="k'ey?x=1", passphrase="pass 'phrase")


async def listed(
    folder: Path, url: str, protocol: str, login: Login = LOGIN, options: FfmpegOptions | None = None, says: str = "cat"
) -> list[str]:
    """The list, from a program in ffmpeg's place that plays back what it is given (or ``says`` something else); ports as 0."""
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{says}\n")
    program.chmod(0o700)
    access = Access(EgressPolicy(allow_private=True), login=login)
    async with access.open_session() as session:
        feed = FfmpegFeed(
            str(program),
            session,
            access,
            options or FfmpegOptions(),
            quality="best",
            selection=Selection(),
            unfit=set(),
        )
        async with feed.open(Source(url=url, protocol=protocol)) as chunks:
            given = b"".join([chunk async for chunk in chunks]).decode()
    return given.splitlines()


async def test_the_key_of_an_rtmp_stream_goes_behind_the_path_of_its_address(tmp_path: Path) -> None:
    version, file, *options = await listed(tmp_path, "rtmp://127.0.0.1:1935/live?app=1", "rtmp")
    assert version == "ffconcat version 1.0"
    assert file.startswith("file 'rtmp://127.0.0.1:")
    assert file.endswith("/live/k'\\''ey?x=1&app=1'")
    assert "option rtmp_tcurl 'rtmp://127.0.0.1:1935/live'" in options


async def test_the_secrets_of_an_srt_stream_are_options(tmp_path: Path) -> None:
    _, file, *options = await listed(tmp_path, "srt://127.0.0.1:9000?mode=listener&pbkeylen=32&passphrase=old", "srt")
    assert file == "file 'srt://127.0.0.1:9000'"
    assert {"option passphrase 'pass '\\''phrase'", "option streamid 'k'\\''ey?x=1'"} <= set(options)
    assert {"option mode 'caller'", "option pbkeylen '32'"} <= set(options)


async def test_they_go_to_nobody_else(tmp_path: Path) -> None:
    elsewhere = Login(domains=("example.org",), stream_key="hidden", passphrase="hidden")
    for url, protocol in (("rtmp://127.0.0.1:1935/live/a", "rtmp"), ("srt://127.0.0.1:9000", "srt")):
        assert "hidden" not in "".join(await listed(tmp_path, url, protocol, elsewhere))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "-map 0:a:0? -c copy -f flv"),
        ({"audio": "aac"}, "-map 0:a:0? -c copy -c:a aac -f flv"),
        ({"audio": "none"}, "-an -c copy -f flv"),
        ({"container": "ts"}, "-map 0:a:0? -c copy -f mpegts"),
        ({"analyze_s": 0.5}, "-analyzeduration 500000"),
    ],
)
async def test_each_option_reaches_the_program(tmp_path: Path, options: dict[str, str | float], told: str) -> None:
    chosen = FfmpegOptions.model_validate(options)
    (arguments,) = await listed(tmp_path, "rtmp://127.0.0.1/live/a", "rtmp", options=chosen, says='echo "$@"')
    assert told in arguments


async def test_times_of_the_options_reach_what_is_dialled(tmp_path: Path) -> None:
    chosen = FfmpegOptions(srt_latency_ms=750, analyze_s=1.5)
    given = await listed(tmp_path, "srt://127.0.0.1:9000?latency=1", "srt", options=chosen)
    assert {"option latency '750000'", "option analyzeduration '1500000'"} <= set(given)


async def test_what_no_line_can_hold_is_refused(tmp_path: Path) -> None:
    broken = Login(domains=("127.0.0.1",), passphrase="a\nfile '/etc/passwd'")
    with pytest.raises(SourceFailed, match="control"):
        await listed(tmp_path, "srt://127.0.0.1:9000", "srt", broken)

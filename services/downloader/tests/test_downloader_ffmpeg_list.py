"""What ffmpeg is told to dial: on its standard input, with the secrets of the account where they belong, and quoted."""

from __future__ import annotations

from pathlib import Path

import pytest
from chassis.accounts import Login
from chassis.egress import EgressPolicy
from contracts.engines import FfmpegOptions
from contracts.values import Source

from services.downloader.adapters.engine import SourceFailed
from services.downloader.adapters.ffmpeg import FfmpegFeed
from services.downloader.adapters.network import Access

LOGIN = Login(domains=("127.0.0.1",), stream_key="k'ey?x=1", passphrase="pass 'phrase")


async def listed(folder: Path, url: str, protocol: str, login: Login = LOGIN) -> list[str]:
    """The list, from a program in ffmpeg's place that plays back what it is given; ports as 0."""
    program = folder / "ffmpeg"
    program.write_text("#!/bin/sh\nexec cat\n")
    program.chmod(0o700)
    access = Access(EgressPolicy(allow_private=True), login=login)
    async with access.open_session() as session:
        feed = FfmpegFeed(str(program), session, access, FfmpegOptions(), quality="best", unfit=set())
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


async def test_what_no_line_can_hold_is_refused(tmp_path: Path) -> None:
    broken = Login(domains=("127.0.0.1",), passphrase="a\nfile '/etc/passwd'")
    with pytest.raises(SourceFailed, match="control"):
        await listed(tmp_path, "srt://127.0.0.1:9000", "srt", broken)

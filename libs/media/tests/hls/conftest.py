"""Real HLS streams, made once per run by ffmpeg."""

from __future__ import annotations

import pytest

from .streams import Source, make_stream


@pytest.fixture(scope="session")
def ts_source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_stream(tmp_path_factory.mktemp("ts"), "-hls_segment_type", "mpegts")


@pytest.fixture(scope="session")
def mp4_source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_stream(tmp_path_factory.mktemp("mp4"), "-hls_segment_type", "fmp4")


@pytest.fixture(scope="session")
def large_ts_source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_stream(tmp_path_factory.mktemp("large"), "-hls_segment_type", "mpegts", size="320x240", seconds=4)


@pytest.fixture(scope="session")
def large_mp4_source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_stream(tmp_path_factory.mktemp("large4"), "-hls_segment_type", "fmp4", size="320x240", seconds=4)


@pytest.fixture(scope="session")
def hevc_ts_source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_stream(tmp_path_factory.mktemp("hevc"), "-hls_segment_type", "mpegts", seconds=4, codec="libx265")

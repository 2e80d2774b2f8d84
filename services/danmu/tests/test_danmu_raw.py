"""Raw frames: kept as they came, bounded, readable up to a torn end, and parsed again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.danmu.adapters.bilibili import BilibiliCodec
from services.danmu.adapters.codec import ChatCodec
from services.danmu.adapters.douyu import DouyuCodec
from services.danmu.adapters.kick import KickCodec
from services.danmu.adapters.raw import RECEIVED, SENT, InvalidRaw, RawFrame, RawReader, RawWriter
from services.danmu.adapters.reparse import _CODECS, CannotReparse, reparsed
from services.danmu.fuzz import douyu, kick
from tests.studio import danmaku
from tests.studio.options import ChatMessage

FRAMES = st.lists(
    st.tuples(
        st.integers(0, 2**63), st.integers(1, 2**32 - 1), st.sampled_from([RECEIVED, SENT]), st.binary(max_size=300)
    ),
    max_size=20,
)


def said(*texts: str) -> bytes:
    messages = [danmaku.message_of(ChatMessage(text=text), 1, n, 1_750_000_000_000) for n, text in enumerate(texts)]
    return danmaku.packet_of(messages, danmaku.BROTLI)


@settings(max_examples=50)
@given(FRAMES, st.integers(1, 5))
def test_frames_are_read_as_they_were_kept_and_what_was_sent_without_its_content(
    tmp_path_factory: pytest.TempPathFactory, frames: list[tuple[int, int, int, bytes]], every: int
) -> None:
    path = tmp_path_factory.mktemp("raw") / "1.frames.zst"
    writer = RawWriter(path, "bilibili", 1 << 20)
    for number, frame in enumerate(frames):
        writer.add(*frame)
        if number % every == 0:
            writer.flush()
    writer.close()
    if not frames:
        assert not path.exists()
        return
    reader = RawReader(path)

    assert list(reader) == [
        RawFrame(at, number, way, len(data), data if way == RECEIVED else b"") for at, number, way, data in frames
    ]
    assert (reader.kind, reader.torn, writer.left_out) == ("bilibili", False, 0)


@given(cut=st.integers(1, 400))
def test_a_torn_file_is_read_up_to_the_tear(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("raw") / "1.frames.zst"
    writer = RawWriter(path, "bilibili", 1 << 20)
    for number in range(40):
        writer.add(number, 1, RECEIVED, b"frame %d" % number)
        writer.flush()
    writer.close()
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    reader = RawReader(path)

    read = list(reader)

    assert [frame.at for frame in read] == list(range(len(read)))
    assert len(read) < 40


def test_no_more_is_kept_than_was_allowed(tmp_path: Path) -> None:
    writer = RawWriter(tmp_path / "1.frames.zst", "bilibili", 2000)
    for number in range(1000):
        writer.add(number, 1, RECEIVED, number.to_bytes(4, "big") * 25)
        writer.flush()
    writer.close()

    assert (tmp_path / "1.frames.zst").stat().st_size < 2200
    assert writer.left_out == 1000 - len(list(RawReader(tmp_path / "1.frames.zst"))) > 0


@pytest.mark.parametrize("content", [b"", b"text", b"\x28\xb5\x2f\xfd"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)

    with pytest.raises(InvalidRaw):
        list(RawReader(tmp_path / "x"))


def test_frames_are_parsed_as_they_would_be_now_with_the_time_they_came() -> None:
    frames = [
        RawFrame(1000, 1, SENT, 50, b""),
        RawFrame(2000, 1, RECEIVED, 0, said("one", "two")),
        RawFrame(9000, 2, RECEIVED, 0, said("three")),
    ]

    found = list(reparsed("bilibili", frames))

    assert [(one.received_at, one.text) for one in found] == [(2000, "one"), (2000, "two"), (9000, "three")]
    assert found[:2] == BilibiliCodec(lambda: 2000).feed(frames[1].data).messages


@pytest.mark.parametrize(
    ("kind", "seeds", "codec"),
    [
        ("kick", kick.SEEDS, KickCodec(9, 5, clock=lambda: 2000)),
        ("douyu", douyu.SEEDS, DouyuCodec("9", clock=lambda: 2000)),
    ],
)
def test_the_room_need_not_be_known(kind: str, seeds: tuple[bytes, ...], codec: ChatCodec) -> None:
    live = [message for seed in seeds for message in codec.feed(seed).messages]

    assert len(live) > 5
    assert list(reparsed(kind, [RawFrame(2000, 1, RECEIVED, 0, seed) for seed in seeds])) == live


def test_a_kind_whose_codec_needs_more_is_refused() -> None:
    with pytest.raises(CannotReparse, match="bilibili"):
        list(reparsed("carrier-pigeon", []))


@pytest.mark.parametrize("kind", sorted(_CODECS))
def test_every_codec_that_is_named_takes_any_frame(kind: str) -> None:
    assert list(reparsed(kind, [RawFrame(1, 1, RECEIVED, 3, b"\x00\xff{"), RawFrame(2, 2, RECEIVED, 0, b"")])) == []

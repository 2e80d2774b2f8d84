"""Endless streams are cut where segments would be, whatever the size of the chunks they come in."""

import random
import struct

import pytest
from media.fmp4 import Mp4Error
from media.fmp4.split import Mp4Splitter
from media.mpegts import PACKET_BYTES
from media.mpegts.scan import scan_ts
from media.mpegts.split import MIN_UNITS, TsSplitter

PAT = bytes.fromhex("4740001000" + "00b00d0001c100000001f000" + "2ab104b2")
PMT = bytes.fromhex("4750001000" + "02b0170001c10000e100f000" + "1be100f000" + "0fe101f000" + "2f44b99b")


def packet(head: bytes) -> bytes:
    return head.ljust(PACKET_BYTES, b"\xff")


def picture(number: int, *, key: bool) -> bytes:
    """One video packet that begins a PES packet with a PTS."""
    pts = number * 6000
    stamp = bytes(
        [0x21 | pts >> 29 & 0x0E, pts >> 22 & 0xFF, pts >> 14 & 0xFE | 1, pts >> 7 & 0xFF, pts << 1 & 0xFE | 1]
    )
    pes = b"\x00\x00\x01\xe0\x00\x00\x80\x80\x05" + stamp + b"\x00\x00\x01\x09"
    adaptation = bytes([PACKET_BYTES - 5 - len(pes), 0x40 if key else 0x00])
    field = adaptation.ljust(1 + adaptation[0], b"\xff")
    return bytes([0x47, 0x41, 0x00, 0x30 | number & 15]) + field + pes


def stream(pictures: int, gop: int, first: int = 0) -> bytes:
    media = b"".join(picture(number, key=number % gop == 0) for number in range(first, first + pictures))
    return packet(PAT) + packet(PMT) + media


def in_chunks(data: bytes, seed: int) -> list[bytes]:
    chance, chunks = random.Random(seed), []
    while data:
        size = chance.randint(1, 700)
        chunks.append(data[:size])
        data = data[size:]
    return chunks


@pytest.mark.parametrize("seed", range(5))
def test_pieces_of_a_transport_stream_begin_with_key_frames_and_lose_nothing_after_the_first(seed):
    splitter = TsSplitter()
    data = stream(100, gop=20, first=7)
    pieces = [piece for chunk in in_chunks(data, seed) for piece in splitter.feed(chunk)] + splitter.finish()
    first_key = 2 + 13
    assert b"".join(pieces) == data[first_key * PACKET_BYTES :]
    assert [len(piece) // PACKET_BYTES for piece in pieces] == [20, 20, 20, 20, 7]


def test_a_stream_of_nothing_but_key_frames_is_not_cut_at_each():
    splitter = TsSplitter()
    pieces = splitter.feed(stream(100, gop=1))
    assert all(len(piece) // PACKET_BYTES >= MIN_UNITS for piece in pieces)


def test_junk_in_front_of_the_packets_is_passed_over():
    splitter = TsSplitter()
    pieces = splitter.feed(b"HTTP junk" + stream(60, gop=20)) + splitter.finish()
    assert [len(piece) // PACKET_BYTES for piece in pieces] == [20, 20, 20]


def box(kind: bytes, size: int = 20) -> bytes:
    return struct.pack(">I4s", size + 8, kind) + bytes(size)


@pytest.mark.parametrize("seed", range(5))
def test_a_fragmented_mp4_is_cut_into_its_head_and_its_fragments(seed):
    head = box(b"ftyp") + box(b"moov", 300)
    fragments = [box(b"styp") + box(b"moof", 50) + box(b"mdat", 1000), box(b"moof", 60) + box(b"mdat", 2000)]
    splitter = Mp4Splitter()
    data = head + b"".join(fragments) + box(b"moof", 40)
    cuts = [cut for chunk in in_chunks(data, seed) for cut in splitter.feed(chunk)]
    assert [(cut.is_init, cut.data) for cut in cuts] == [(True, head), *((False, one) for one in fragments)]
    assert splitter.finish() == [], "a fragment without its media is nothing"


@pytest.mark.parametrize("data", [b"<html>" * 10, struct.pack(">I4s", 1 << 30, b"mdat") + bytes(20), bytes(40)])
def test_what_is_no_fragmented_mp4_is_refused_before_it_fills_the_memory(data):
    with pytest.raises(Mp4Error):
        Mp4Splitter().feed(data)


def test_a_transport_stream_without_tables_is_not_looked_through_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at = 0

    def counting(data: bytes) -> object:
        nonlocal looked_at
        looked_at += len(data)
        return scan_ts(data[:PACKET_BYTES])

    monkeypatch.setattr("media.mpegts.split.scan_ts", counting)
    splitter, fed = TsSplitter(), 0
    chunk = (b"\x47\x41\x00\x10" + b"\xff" * 184) * 340
    while fed < 12 << 20:
        splitter.feed(chunk)
        fed += len(chunk)
    assert looked_at <= 20 * fed


def test_boxes_without_media_do_not_pile_up() -> None:
    splitter = Mp4Splitter()
    free = (1 << 20).to_bytes(4) + b"free" + bytes((1 << 20) - 8)
    with pytest.raises(Mp4Error):
        for _ in range(100):
            assert splitter.feed(free) == []

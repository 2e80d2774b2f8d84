"""Sequence headers by meaning: what changes the decoding of frames, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media.flv.codec_config import BitReader, read_config
from media.flv.tag import AUDIO, VIDEO, Codec, Tag

from libs.media.tests import flv_streams as flv


def avc(**kwargs) -> tuple:
    return read_config(flv.avc_header(0, flv.avc_record(**kwargs))).signature


@pytest.mark.parametrize("size", ["160x120", "322x242", "640x360"])
def test_the_size_of_a_real_stream_is_read_from_its_sps(size):
    header = flv.sequence_headers(flv.ffmpeg_flv(1, size=size))[0]
    config = read_config(header)
    assert config.description.startswith(f"avc {size} ")
    assert config.nal_length_size == 4


@pytest.mark.parametrize(
    "args", [("-flags", "+ilme+ildct"), ("-pix_fmt", "yuv444p"), ("-qp", "0"), ("-x264-params", "cqm=jvt")]
)
def test_interlaced_444_lossless_and_matrix_streams_are_read(args):
    header = flv.sequence_headers(flv.ffmpeg_flv(1, video_args=("-c:v", "libx264", *args), size="176x144"))[0]
    assert read_config(header).description.startswith("avc 176x144 ")


def test_an_equal_record_and_another_display_hint_are_no_change():
    assert avc() == avc()
    assert flv.HINTED_SPS != flv.SPS
    assert avc(sps=flv.HINTED_SPS) == avc()


def test_reserved_bits_and_a_trailer_are_no_change():
    record = bytearray(flv.avc_record())
    record[4] &= 0x03
    record[5] &= 0x1F
    config = read_config(flv.avc_header(0, bytes(record) + b"\xfd\xf8\xf8\x00"))
    assert config.signature == avc()


def test_another_sps_pps_or_length_size_is_a_change():
    assert len({avc(), avc(sps=flv.OTHER_SPS), avc(pps=b"\x68\xcb\x83\xcb\x21"), avc(length_size=2)}) == 4


@pytest.mark.parametrize(
    ("config", "description"),
    [
        (b"\x12\x10", "aac 44100 Hz 2 channels object type 2"),
        (b"\x11\x90", "aac 48000 Hz 2 channels object type 2"),
        (b"\x17\x80\x5d\xc0\x08", "aac 48000 Hz 1 channels object type 2"),
    ],
)
def test_aac(config, description):
    assert read_config(flv.aac_header(0, config)).description.startswith(description[:10])


def test_the_sbr_extension_behind_an_aac_config_is_no_change():
    plain, extended = flv.aac_header(0, b"\x12\x10"), flv.aac_header(0, b"\x12\x10\x56\xe5\x00")
    assert read_config(plain).signature == read_config(extended).signature
    assert read_config(plain).signature != read_config(flv.aac_header(0, b"\x12\x08")).signature


def test_hevc_parameter_sets_count_and_their_order_does_not():
    def record(*sets: bytes) -> bytes:
        arrays = b"".join(bytes([0x20]) + b"\x00\x01" + len(unit).to_bytes(2) + unit for unit in sets)
        return b"\x01\x01" + bytes(10) + b"\x5d" + bytes(8) + b"\x0f" + bytes([len(sets)]) + arrays

    def config(data: bytes, lead: bytes = b"\x1c\x00\x00\x00\x00"):
        return read_config(Tag.of(VIDEO, 0, lead + data))

    vps, sps, pps = b"\x40v", b"\x42s", b"\x44p"
    assert config(record(vps, sps, pps)).signature == config(record(pps, vps, sps, sps)).signature
    assert config(record(vps, sps, pps)).signature != config(record(vps, b"\x42x", pps)).signature
    assert config(record(vps, sps, pps), b"\x90hvc1").signature == config(record(vps, sps, pps)).signature
    assert config(record(vps, sps, pps)).nal_length_size == 4


def test_a_flac_header_sent_again_with_its_sample_count_is_no_change():
    def flac(tail: bytes) -> Tag:
        return Tag.of(AUDIO, 0, b"\x90fLaC" + bytes(10) + b"\x0b\xb8\x02\xf0" + tail)

    assert read_config(flac(bytes(20))).signature == read_config(flac(b"\x01" * 20)).signature
    assert read_config(flac(bytes(20))).description == "flac 48000 Hz 2 channels 16 bits"


@given(st.binary(max_size=60), st.sampled_from([b"\x17\x00\x00\x00\x00", b"\x1c\x00\x00\x00\x00", b"\x90av01"]))
def test_any_record_has_a_signature_and_equal_records_have_equal_ones(record, lead):
    first, second = (read_config(Tag.of(VIDEO, 0, lead + record)) for _ in range(2))
    assert first.signature == second.signature
    assert first.codec in (Codec.AVC, Codec.HEVC, Codec.AV1)


def test_exp_golomb_numbers():
    reader = BitReader(bytes([0b1_010_011_0, 0b0100_0010, 0b1_0000000]))
    assert [reader.unsigned() for _ in range(4)] == [0, 1, 2, 3]
    assert reader.signed() == -2
    with pytest.raises(ValueError, match="past the end"):
        BitReader(b"\x01").bits(9)
    with pytest.raises(ValueError, match="Exp-Golomb"):
        BitReader(bytes(9)).unsigned()

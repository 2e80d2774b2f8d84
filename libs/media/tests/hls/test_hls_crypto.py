from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from media.hls import Assembler, DecryptionError, HlsPlanner, SegmentTask, StreamItem, decrypt_aes128

from .streams import BASE, Source, decode, ffmpeg, record

KEY, IV = bytes(range(16)), bytes(range(16, 32))


@given(st.binary(max_size=100))
def test_what_was_encrypted_comes_back(plain: bytes) -> None:
    assert decrypt_aes128(encrypt(plain, IV), KEY, IV) == plain


@pytest.mark.parametrize(
    ("data", "key", "iv"),
    [(b"", KEY, IV), (bytes(15), KEY, IV), (bytes(16), KEY, IV), (bytes(16), KEY[:8], IV), (bytes(16), KEY, b"")],
)
def test_what_cannot_be_decrypted_is_an_error(data: bytes, key: bytes, iv: bytes) -> None:
    with pytest.raises(DecryptionError):
        decrypt_aes128(data, key, iv)


def test_an_encrypted_stream_of_a_real_server_plays(
    ts_source: Source, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("encrypted")
    (folder / "key.bin").write_bytes(KEY)
    (folder / "info").write_text(f"key.bin\n{folder / 'key.bin'}\n{IV.hex()}\n")
    ffmpeg(
        *(
            "-i",
            str(ts_source.folder / "index.m3u8"),
            "-c",
            "copy",
            "-f",
            "hls",
            "-hls_time",
            "2",
            "-hls_list_size",
            "0",
        ),
        *("-start_number", "70000", "-hls_key_info_file", str(folder / "info"), str(folder / "index.m3u8")),
    )

    items = download(Source(folder))

    assert decode(record(items).files[0].kept).video_frames == 200


def test_the_sequence_number_stands_in_for_a_missing_vector(
    ts_source: Source, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("implicit")
    (folder / "key.bin").write_bytes(KEY)
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", "#EXT-X-MEDIA-SEQUENCE:70000"]
    lines.append('#EXT-X-KEY:METHOD=AES-128,URI="key.bin"')
    for number in range(4):
        plain = (ts_source.folder / f"index{number}.ts").read_bytes()
        (folder / f"{number}.ts").write_bytes(encrypt(plain, (70_000 + number).to_bytes(16, "big")))
        lines += ["#EXTINF:2,", f"{number}.ts"]
    (folder / "index.m3u8").write_text("\n".join([*lines, "#EXT-X-ENDLIST"]))

    items = download(Source(folder))

    assert decode(record(items).files[0].kept).video_frames == 200


def encrypt(plain: bytes, iv: bytes) -> bytes:
    padding = 16 - len(plain) % 16
    encryptor = Cipher(algorithms.AES(KEY), modes.CBC(iv)).encryptor()
    return encryptor.update(plain + bytes([padding]) * padding) + encryptor.finalize()


def download(source: Source) -> list[StreamItem]:
    planner, assembler = HlsPlanner(), Assembler()
    items = assembler.plan(tasks := planner.update(source.playlist, BASE, 0.0), 0.0)
    for task in tasks:
        assert isinstance(task, SegmentTask)
        assert task.key is not None
        data = decrypt_aes128(source.read(task.url), source.read(task.key.uri), task.key.iv)
        items += assembler.completed(task, data, 0.0)
    return items

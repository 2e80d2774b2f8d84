"""The framing of Bilibili chat: golden frames from the protocol facts, and any bytes at all.

Source: "bilibili-API-collect", page "live/message_stream": a 16-byte big-endian header {length, header length 16,
version, operation, sequence}; version 2 = zlib, 3 = brotli, both holding packets again; operation 8 answers the
authentication, 3 the heartbeat.
"""

from __future__ import annotations

import json
import struct
import tracemalloc
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters.bilibili import MAX_FRAME_BYTES, MAX_NESTING, BilibiliCodec, pack
from services.danmu.adapters.bilibili_commands import HANDLERS
from services.danmu.adapters.messages import decode_line, encode_line

NOW = 1_750_000_000_123


def chat(text: str) -> bytes:
    return pack(5, json.dumps({"cmd": "DANMU_MSG", "info": [[], text, [7, "Bob"]]}).encode(), 0)


def zipped(packets: bytes) -> bytes:
    return pack(5, zlib.compress(packets), 2)


def brotlied(packets: bytes) -> bytes:
    return pack(5, brotli.compress(packets), 3)


def texts(frame: bytes) -> list[str]:
    return [message.text for message in BilibiliCodec(clock=lambda: NOW).feed(frame).messages]


class TestOutgoing:
    def test_the_greeting_is_operation_7_with_the_token(self) -> None:
        frame = BilibiliCodec().hello(1017, uid=42, token="abc", buvid="B-1")

        assert frame[:16] == struct.pack(">IHHII", len(frame), 16, 1, 7, 1)
        assert json.loads(frame[16:]) == {
            "uid": 42,
            "roomid": 1017,
            "protover": 3,
            "platform": "web",
            "type": 2,
            "key": "abc",
            "buvid": "B-1",
        }

    def test_the_heartbeat_is_byte_for_byte_what_the_web_page_sends(self) -> None:
        """The hexadecimal example of the reference."""
        golden = "0000001f001000010000000200000001" + b"[object Object]".hex()

        assert BilibiliCodec().heartbeat().hex() == golden


class TestAnswers:
    def test_an_accepted_authentication(self) -> None:
        """The hexadecimal example of the reference: {"code":0}."""
        frame = bytes.fromhex("0000001a001000010000000800000001") + b'{"code":0}'

        assert BilibiliCodec().feed(frame).authenticated is True

    @pytest.mark.parametrize("body", [b'{"code":-101}', b"[]", b"nonsense"])
    def test_a_refused_authentication(self, body: bytes) -> None:
        assert BilibiliCodec().feed(pack(8, body)).authenticated is False

    def test_a_heartbeat_answer_holds_the_popularity_and_an_echo_behind_it(self) -> None:
        """The example of the reference: 0x9a2 = 2466, length 0x14, and the request's body behind the packet."""
        frame = bytes.fromhex("00000014001000010000000300000000000009a2") + b"[object Object]"
        codec = BilibiliCodec()

        decoded = codec.feed(frame)

        assert decoded.popularity == 2466
        assert decoded.messages == []
        assert codec.counters.malformed == 0

    def test_other_frames_say_nothing_about_either(self) -> None:
        decoded = BilibiliCodec().feed(chat("x"))

        assert (decoded.popularity, decoded.authenticated, decoded.replies) == (None, None, [])


class TestFraming:
    def test_plain_packets_follow_each_other(self) -> None:
        assert texts(chat("a") + chat("b") + chat("c")) == ["a", "b", "c"]

    @pytest.mark.parametrize("compressed", [zipped, brotlied])
    def test_a_compressed_body_holds_packets(self, compressed: object) -> None:
        assert callable(compressed)
        assert texts(compressed(chat("a") + chat("b")) + chat("c")) == ["a", "b", "c"]

    def test_compressions_nest(self) -> None:
        assert texts(zipped(chat("a") + brotlied(chat("b") + zipped(chat("c"))) + chat("d"))) == ["a", "b", "c", "d"]

    def test_the_reference_example_with_brotli(self) -> None:
        """A WATCHED_CHANGE inside version 3, bytes from the hexadecimal dump of the reference."""
        dump = (
            "00000086001000030000000500000000"
            "8b38800000007200100000000000050000"
            "00007b22636d64223a22574154434845445f4348414e4745222c2264617461223a7b226e756d223a32323039372c22"
            "746578745f736d616c6c223a22322e32e4b887222c22746578745f6c61726765223a22322e32e4b887e4babae79c8be8bf87"
            "227d7d03"
        )
        codec = BilibiliCodec()

        codec.feed(bytes.fromhex(dump))

        assert codec.counters.ignored == {"WATCHED_CHANGE": 1}

    def test_a_longer_header_is_respected(self) -> None:
        body = chat("a")[16:]
        frame = struct.pack(">IHHII", 20 + len(body), 20, 0, 5, 1) + b"\0\0\0\0" + body

        assert texts(frame + chat("b")) == ["a", "b"]

    def test_what_is_whole_before_a_torn_packet_is_kept(self) -> None:
        codec = BilibiliCodec()

        decoded = codec.feed(chat("a") + chat("b")[:-1])

        assert [message.text for message in decoded.messages] == ["a"]
        assert codec.counters.malformed == 1

    @pytest.mark.parametrize("length", [0, 15, 1 << 31])
    def test_an_impossible_length_ends_the_frame(self, length: int) -> None:
        codec = BilibiliCodec()

        codec.feed(struct.pack(">IHHII", length, 16, 0, 5, 1) + b"{}")

        assert codec.counters.malformed == 1

    def test_broken_compression_costs_its_own_packet_only(self) -> None:
        codec = BilibiliCodec()

        decoded = codec.feed(pack(5, b"no zlib", 2) + pack(5, b"\xff" * 9, 3) + chat("a"))

        assert [message.text for message in decoded.messages] == ["a"]
        assert codec.counters.malformed == 2

    def test_unknown_versions_and_operations_are_counted(self) -> None:
        codec = BilibiliCodec()

        codec.feed(pack(5, b"{}", 9) + pack(77, b""))

        assert codec.counters.ignored == {"version 9": 1, "operation 77": 1}

    def test_the_time_of_receipt_is_the_clock_s(self) -> None:
        assert BilibiliCodec(clock=lambda: NOW).feed(chat("x")).messages[0].received_at == NOW


class TestBounds:
    def test_eight_layers_are_followed_and_nine_are_not(self) -> None:
        frame = chat("deep")
        for _ in range(MAX_NESTING):
            frame = zipped(frame)
        codec = BilibiliCodec()

        assert texts(frame) == ["deep"]
        assert codec.feed(zipped(frame)).messages == []
        assert codec.counters.oversized == 1

    @pytest.mark.parametrize("compressed", [zipped, brotlied])
    def test_a_bomb_is_not_unpacked(self, compressed: object) -> None:
        """200 MiB of zeros; memory stays within a few times the limit of a frame."""
        assert callable(compressed)
        bomb = compressed(bytes(200 << 20))
        codec = BilibiliCodec()
        tracemalloc.start()
        try:
            decoded = codec.feed(bomb + chat("behind it"))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert decoded.messages == []
        assert codec.counters.oversized == 1
        assert peak < 5 * MAX_FRAME_BYTES

    def test_many_small_bombs_share_one_allowance(self) -> None:
        codec = BilibiliCodec()
        empty = pack(77, bytes(1 << 20))

        codec.feed(zipped(empty) * 20)

        assert codec.counters.oversized == 1
        assert codec.counters.ignored["operation 77"] == 15

    def test_packets_without_end_are_not_followed(self) -> None:
        codec = BilibiliCodec()

        codec.feed(zipped(pack(77, b"") * 100_000))

        assert codec.counters.oversized == 1
        assert codec.counters.ignored["operation 77"] == 65_535  # one of the 65,536 is the compressed packet

    def test_a_frame_over_the_limit_is_refused_whole(self) -> None:
        codec = BilibiliCodec()

        assert codec.feed(chat("x") + bytes(MAX_FRAME_BYTES)).messages == []
        assert codec.counters.oversized == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=18) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=25,
)
KEYS = st.sampled_from(
    [
        "info",
        "data",
        "uid",
        "uname",
        "giftName",
        "num",
        "price",
        "total_coin",
        "coin_type",
        "id",
        "ids",
        "message",
        "user_info",
        "medal_info",
        "time",
        "ts",
        "msg_type",
        "title",
        "pb",
        "toast_msg",
        "guard_level",
        "gift_name",
        "medal_name",
        "medal_level",
        "extra",
        "user",
        "msg",
        "msg_id",
        "send_time",
    ]
)
OBJECTS = st.dictionaries(KEYS, JSON | st.dictionaries(KEYS, JSON, max_size=6), max_size=8)
COMMANDS = st.tuples(st.sampled_from(sorted(HANDLERS)), OBJECTS).map(lambda pair: {"cmd": pair[0], **pair[1]})
DANMU = st.lists(JSON | st.lists(JSON, max_size=18), max_size=10).map(lambda info: {"cmd": "DANMU_MSG", "info": info})


@given(st.binary(max_size=200))
def test_any_bytes_do_no_harm(frame: bytes) -> None:
    BilibiliCodec().feed(frame)


@given(
    st.lists(
        st.tuples(st.sampled_from([2, 3, 5, 7, 8, 9]), st.binary(max_size=60), st.integers(0, 5)),
        max_size=5,
    ),
    st.sampled_from([b"", b"\0", b"\0\0\0\x10"]),
)
def test_any_packets_do_no_harm(packets: list[tuple[int, bytes, int]], rest: bytes) -> None:
    BilibiliCodec().feed(b"".join(pack(*packet) for packet in packets) + rest)


@given(st.lists(COMMANDS | DANMU | JSON, max_size=4), st.sampled_from([bytes, zipped, brotlied]))
def test_any_command_gives_messages_that_can_be_written_or_is_counted(commands: list[object], wrap: object) -> None:
    assert callable(wrap)
    codec = BilibiliCodec()

    decoded = codec.feed(wrap(b"".join(pack(5, json.dumps(command).encode(), 0) for command in commands)))

    for message in decoded.messages:
        assert decode_line(encode_line(message)) == message
    if not decoded.messages and commands:
        empty_lists = sum(isinstance(command, dict) and command.get("cmd") in _MAY_BE_EMPTY for command in commands)
        assert codec.counters.malformed + sum(codec.counters.ignored.values()) + empty_lists >= 1


_MAY_BE_EMPTY = {"SUPER_CHAT_MESSAGE_DELETE", "SEND_GIFT_V2", "SUPER_CHAT_MESSAGE", "SUPER_CHAT_MESSAGE_JPN"}


@given(st.integers(0, 40), st.binary(max_size=3), st.sampled_from([zipped, brotlied, bytes]))
def test_a_damaged_good_frame_does_no_harm(position: int, damage: bytes, wrap: object) -> None:
    assert callable(wrap)
    frame = wrap(chat("a") + chat("b"))

    BilibiliCodec().feed(frame[:position] + damage + frame[position + len(damage) :])


def test_deep_json_does_no_harm() -> None:
    codec = BilibiliCodec()

    codec.feed(pack(5, b'{"cmd":"DANMU_MSG","info":' + b"[" * 200_000, 0))
    codec.feed(pack(5, b'{"cmd":"LIVE","live_time":' + b"9" * 10_000 + b"}", 0))

    assert codec.counters.malformed == 2

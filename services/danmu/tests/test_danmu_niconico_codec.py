"""Niconico: messages built by hand from the public schema's field numbers, the session's JSON, and any bytes at all."""

from __future__ import annotations

import html
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters.messages import Badge, ChatMessage, MessageKind
from services.danmu.adapters.ndgr import MAX_MESSAGE_BYTES, Entry, LengthDelimited, parse_entry
from services.danmu.adapters.niconico import COMMENT, MAX_FRAME_BYTES, NiconicoCodec, watch_socket
from services.danmu.adapters.recent import Backlog
from services.danmu.fuzz.harness import SEPARATOR
from services.danmu.fuzz.niconico import SEEDS, connect
from tests.studio.niconico import Proto, delimited, encode

NOW = 1_750_000_000_123
AT = 1_750_000_000
ASKED: Proto = [(1, "夏と冬"), (2, [(1, "夏"), (3, 625)]), (2, [(1, "冬"), (3, 375)])]


def codec(seen: Backlog | None = None) -> NiconicoCodec:
    return NiconicoCodec(seen, clock=lambda: NOW)


def chunk(*payload: tuple[int, Proto], message_id: str = "id-1") -> bytes:
    meta: Proto = [(1, message_id), (2, [(1, AT), (2, 5_000_000)])]
    return COMMENT + encode([(1, meta), *payload])


def message(*payload: tuple[int, Proto]) -> ChatMessage:
    (only,) = codec().feed(chunk(*payload)).messages
    return only


class TestSession:
    def test_it_asks_for_a_seat_for_the_comments_only(self) -> None:
        (hello,) = (json.loads(frame) for frame in codec().hello())

        assert hello["type"] == "startWatching"
        assert "stream" not in hello["data"]
        assert json.loads(codec().heartbeat()) == {"type": "keepSeat"}

    @pytest.mark.parametrize(("asked", "beat"), [(30, 30.0), (0, 1.0), (10_000, 300.0)])
    def test_the_seat_says_how_often_it_is_to_be_kept(self, asked: int, beat: float) -> None:
        assert codec().feed(json.dumps({"type": "seat", "data": {"keepIntervalSec": asked}}).encode()).beat_s == beat

    def test_the_message_server_is_the_welcome(self) -> None:
        one = codec()

        assert one.feed(b'{"type":"messageServer","data":{"viewUri":"https://view"}}').authenticated is True
        assert one.view_uri == "https://view"

    def test_a_ping_is_answered_and_keeps_the_seat(self) -> None:
        replies = [json.loads(reply)["type"] for reply in codec().feed(b'{"type":"ping"}').replies]

        assert replies == ["pong", "keepSeat"]

    def test_the_viewers_are_counted(self) -> None:
        assert codec().feed(b'{"type":"statistics","data":{"viewers":12}}').popularity == 12

    @pytest.mark.parametrize(
        ("frame", "reason", "closed"),
        [
            (b'{"type":"disconnect","data":{"reason":"END_PROGRAM"}}', "disconnect END_PROGRAM", True),
            (b'{"type":"disconnect","data":{"reason":"TAKEOVER"}}', "disconnect TAKEOVER", False),
            (b'{"type":"error","data":{"code":"INVALID_MESSAGE"}}', "error INVALID_MESSAGE", False),
            (b'{"type":"reconnect","data":{"waitTimeSec":10}}', "the server asks to reconnect", False),
        ],
    )
    def test_the_ways_a_session_ends(self, frame: bytes, reason: str, closed: bool) -> None:
        decoded = codec().feed(frame)

        assert decoded.reconnect == reason
        assert [one.kind for one in decoded.messages] == [MessageKind.STREAM_CLOSED] * closed

    @pytest.mark.parametrize(
        ("props", "url"),
        [
            ({"site": {"relive": {"webSocketUrl": "wss://a.live2.nicovideo.jp/x?audience_token=1&y"}}}, "wss://a"),
            ({"site": {"relive": {"webSocketUrl": ""}}}, ""),
            ({"site": None}, ""),
        ],
    )
    def test_the_page_names_the_session(self, props: object, url: str) -> None:
        page = f'<p data-props="{{}}"><script data-props="{html.escape(json.dumps(props))}">'.encode()

        found = watch_socket(page)

        assert found.startswith(url)
        assert bool(found) is bool(url)


class TestStream:
    @given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(1, 50), min_size=1, max_size=4))
    def test_messages_are_cut_wherever_the_stream_breaks(self, messages: list[bytes], sizes: list[int]) -> None:
        stream = b"".join(map(delimited, messages))
        cut = LengthDelimited()
        found: list[bytes] = []
        at = turn = 0
        while at < len(stream):
            size = sizes[turn % len(sizes)]
            found += cut.feed(stream[at : at + size])
            at, turn = at + size, turn + 1

        assert found == messages

    @pytest.mark.parametrize("stream", [b"\xff" * 5, delimited(b"x" * (MAX_MESSAGE_BYTES + 1))])
    def test_a_message_beyond_the_limit_is_refused(self, stream: bytes) -> None:
        with pytest.raises(ValueError, match="beyond the limit"):
            LengthDelimited().feed(stream)

    def test_entries_of_the_view(self) -> None:
        segment: Proto = [(1, [(1, AT)]), (2, [(1, AT + 16)]), (3, "https://segment")]

        assert parse_entry(encode([(1, segment)])) == Entry("segment", "https://segment")
        assert parse_entry(encode([(3, segment)])) == Entry("previous", "https://segment")
        assert parse_entry(encode([(4, [(1, AT + 16)])])) == Entry("next", at=AT + 16)
        assert parse_entry(encode([(2, [(1, [(1, AT)])])])) is None
        assert parse_entry(b"\xff") is None


class TestComments:
    def test_a_comment_with_everything(self) -> None:
        chat: Proto = [(1, "888"), (2, "Ann"), (3, 500), (4, 1), (5, 42), (7, [(1, 2), (2, 2), (3, 5)]), (8, 7)]

        assert message((2, [(1, chat)])) == ChatMessage(
            MessageKind.CHAT,
            NOW,
            "id-1",
            AT * 1000 + 5,
            "Ann",
            "42",
            "888",
            0x00FF00,
            mode=5,
            size=36,
            badges=(Badge("fan", "premium"),),
        )

    def test_an_anonymous_comment_in_a_colour_of_its_own(self) -> None:
        full: Proto = [(1, 0x12), (2, 0x34), (3, 0x56)]
        said = message((2, [(20, [(1, "x"), (6, "a:hash"), (7, [(1, 1), (2, 1), (4, full)])])]))

        assert (said.uid, said.colour, said.mode, said.size) == ("a:hash", 0x123456, 4, 18)

    def test_values_that_the_schema_does_not_have_look_as_usual(self) -> None:
        said = message((2, [(1, [(1, "x"), (7, [(1, 9), (2, 9), (3, 99)])])]))

        assert (said.colour, said.mode, said.size) == (0xFFFFFF, 1, 25)

    def test_a_gift_in_points(self) -> None:
        said = message((2, [(8, [(1, "stamp_1"), (2, 42), (3, "Ann"), (4, 500), (5, "for you"), (6, "Big stamp")])]))

        assert (said.kind, said.gift, said.price, said.currency) == (MessageKind.GIFT, "Big stamp", 500_000, "JPY")
        assert (said.user, said.uid, said.text) == ("Ann", "42", "for you")

    def test_adverts_in_both_versions(self) -> None:
        old = message((2, [(9, [(1, [(1, [(1, "Ann"), (2, 300), (3, "go")]), (3, 900)])])]))
        new = message((2, [(9, [(2, [(1, 900), (2, "Annさんが500ptニコニ広告しました")])])]))

        assert (old.gift, old.user, old.price, old.text) == ("nicoad", "Ann", 300_000, "go")
        assert (new.gift, new.price, new.currency) == ("nicoad", 500_000, "JPY")

    def test_what_the_broadcaster_shows(self) -> None:
        comment: Proto = [(1, "Welcome"), (2, "Host"), (3, [(3, 1)])]
        said = message((4, [(4, [(1, [(1, comment)])])]))

        assert (said.kind, said.action, said.text, said.user) == (MessageKind.CHAT, "operator", "Welcome", "Host")
        assert (said.colour, said.badges) == (0xFF0000, (Badge("moderator", "operator"),))

    @pytest.mark.parametrize(
        ("payload", "kind", "action", "text"),
        [
            ((2, [(7, [(3, "clap")])]), MessageKind.SYSTEM, "emotion", "clap"),
            ((2, [(7, [(8, "12th")])]), MessageKind.SYSTEM, "ranking", "12th"),
            ((2, [(23, [(1, 9), (2, "Ann follows")])]), MessageKind.FOLLOW, "", "Ann follows"),
            ((2, [(23, [(1, 7), (2, "a supporter")])]), MessageKind.MEMBERSHIP, "supporter", "a supporter"),
            ((2, [(23, [(1, 99), (2, "new")])]), MessageKind.SYSTEM, "notice", "new"),
            ((4, [(2, [*ASKED, (3, 1)])]), MessageKind.SYSTEM, "poll", "夏と冬 / 夏 / 冬"),
            ((4, [(2, [*ASKED, (3, 2)])]), MessageKind.SYSTEM, "poll_result", "夏と冬 / 夏 62.5% / 冬 37.5%"),
            ((4, [(5, [(1, 1)])]), MessageKind.MODERATION, "silence_on", ""),
            ((4, [(5, [])]), MessageKind.MODERATION, "silence_off", ""),
            ((4, [(9, [(1, 1)])]), MessageKind.STREAM_CLOSED, "ended", ""),
        ],
    )
    def test_notices_and_states(self, payload: tuple[int, Proto], kind: MessageKind, action: str, text: str) -> None:
        said = message(payload)

        assert (said.kind, said.action, said.text, said.id) == (kind, action, text, "id-1")

    def test_statistics_are_the_popularity(self) -> None:
        decoded = codec().feed(chunk((4, [(1, [(1, 1234)])])))

        assert (decoded.popularity, decoded.messages) == (1234, [])

    def test_a_comment_is_told_once_over_connections(self) -> None:
        seen = Backlog()
        frame = chunk((2, [(1, [(1, "x")])]))

        assert len(codec(seen).feed(frame).messages) == 1
        assert codec(seen).feed(frame).messages == []

    def test_what_is_of_no_use_is_counted(self) -> None:
        one = codec()
        one.feed(chunk((2, [(17, [])])))
        one.feed(chunk((4, [(2, [*ASKED, (3, 0)])]), message_id="closed"))
        one.feed(chunk((5, [])))  # known already: the same id
        one.feed(COMMENT + b"\xff")
        one.feed(b'{"type":"schedule"}')
        one.feed(b"[]")

        assert one.counters.ignored == {"payload": 2, "schedule": 1}
        assert one.counters.malformed == 2


class TestAnything:
    @given(st.binary(max_size=300))
    def test_no_bytes_raise(self, data: bytes) -> None:
        feed = connect()
        feed(data)
        feed(COMMENT + data)

    @given(st.data())
    def test_no_mutation_of_a_true_frame_raises(self, data: st.DataObject) -> None:
        frame = bytearray(data.draw(st.sampled_from(SEEDS)))
        for at in data.draw(st.lists(st.integers(0, len(frame) - 1), max_size=8)):
            frame[at] = data.draw(st.integers(0, 255))
        feed = connect()

        for part in bytes(frame).split(SEPARATOR):
            feed(part)

    def test_frames_beyond_the_limit_are_counted(self) -> None:
        one = codec()

        assert one.feed(b" " * (MAX_FRAME_BYTES + 1)).messages == []
        assert one.feed(COMMENT + bytes(MAX_MESSAGE_BYTES + 1)).messages == []
        assert one.counters.oversized == 2

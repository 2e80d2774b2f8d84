"""YouTube's pages and answers, in the shapes that its chat readers published, and any bytes at all."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.messages import Badge, ChatMessage, Emote, MessageKind
from services.danmu.adapters.recent import Backlog
from services.danmu.adapters.youtube import MAX_FRAME_BYTES, YoutubeCodec
from services.danmu.fuzz.harness import SEPARATOR, check
from services.danmu.fuzz.youtube import PAGE, SEEDS

NOW = 1_750_000_000_123
AUTHOR: dict[str, Any] = {
    "id": "id-1",
    "timestampUsec": "1750000000000000",
    "authorName": {"simpleText": "Ann"},
    "authorExternalChannelId": "UC42",
}


def opened(since: int = 0, seen: Backlog | None = None) -> YoutubeCodec:
    codec = YoutubeCodec(since, seen, clock=lambda: NOW)
    assert codec.feed(PAGE).authenticated is True
    return codec


def answer(*actions: dict[str, Any], **continuation: Any) -> bytes:
    going_on = continuation or {"timedContinuationData": {"continuation": "next", "timeoutMs": 1500}}
    chat = {"continuations": [going_on], "actions": list(actions)}
    return json.dumps({"continuationContents": {"liveChatContinuation": chat}}).encode()


def item(renderer: str, **fields: Any) -> dict[str, Any]:
    return {"clickTrackingParams": "x", "addChatItemAction": {"item": {renderer: AUTHOR | fields}}}


def message(action: dict[str, Any]) -> ChatMessage:
    (only,) = opened().feed(answer(action)).messages
    return only


def runs(*texts: str) -> dict[str, Any]:
    return {"runs": [{"text": text} for text in texts]}


class TestPolling:
    def test_the_page_tells_how_to_poll(self) -> None:
        codec = opened()

        assert (codec.api_key, codec.continuation, codec.wait_s) == ("k", "c", 1.0)
        assert json.loads(codec.poll()) == {
            "context": {"client": {"clientName": "WEB", "clientVersion": "2", "hl": "en", "gl": "US"}},
            "continuation": "c",
        }

    def test_the_whole_chat_is_preferred_to_the_selected_one(self) -> None:
        views = [{"continuation": {"reloadContinuationData": {"continuation": one}}} for one in ("top", "all")]
        menu = {"liveChatHeaderRenderer": {"viewSelector": {"sortFilterSubMenuRenderer": {"subMenuItems": views}}}}
        page = PAGE.replace(b'"actions":[]', b'"actions":[],"header":' + json.dumps(menu).encode())
        codec = YoutubeCodec()

        codec.feed(page)

        assert (codec.continuation, codec.wait_s) == ("all", 0.25)

    @pytest.mark.parametrize(
        "page", [b"", b"<html></html>", PAGE.replace(b"liveChatRenderer", b"messageRenderer"), PAGE[:-40]]
    )
    def test_a_page_without_a_chat_is_of_no_use(self, page: bytes) -> None:
        codec = YoutubeCodec()

        decoded = codec.feed(page)

        assert decoded.authenticated is None
        assert decoded.reconnect == "there is no chat, or not any more"
        assert codec.counters.malformed == 1

    @pytest.mark.parametrize(
        ("kind", "asked", "wait"),
        [
            ("invalidationContinuationData", 10_000, 10.0),
            ("timedContinuationData", 5000, 5.0),
            ("reloadContinuationData", 0, 5.0),
            ("timedContinuationData", 1, 0.25),
            ("timedContinuationData", 10**9, 30.0),
        ],
    )
    def test_it_waits_as_long_as_the_server_says_within_reason(self, kind: str, asked: int, wait: float) -> None:
        codec = opened()

        codec.feed(answer(**{kind: {"continuation": "n", "timeoutMs": asked}}))

        assert (codec.continuation, codec.wait_s) == ("n", wait)

    @pytest.mark.parametrize("frame", [b"{}", b'{"continuationContents":{"liveChatContinuation":{}}}'])
    def test_an_answer_without_continuation_is_the_end(self, frame: bytes) -> None:
        decoded = opened().feed(frame)

        assert [(one.kind, one.action) for one in decoded.messages] == [(MessageKind.STREAM_CLOSED, "ended")]
        assert decoded.reconnect == "the chat is over"

    @pytest.mark.parametrize("frame", [b"", b"[]", b"{", b"<html>"])
    def test_an_answer_that_is_none_is_not_the_end(self, frame: bytes) -> None:
        codec = opened()

        decoded = codec.feed(frame)

        assert (decoded.messages, codec.counters.malformed) == ([], 1)
        assert decoded.reconnect

    def test_what_was_said_before_and_what_was_told_already_is_left_out(self) -> None:
        seen = Backlog()
        old = item("liveChatTextMessageRenderer", id="old", timestampUsec="1749999999999999", message=runs("old"))
        new = item("liveChatTextMessageRenderer", message=runs("new"))

        first = opened(1_750_000_000_000, seen).feed(answer(old, new))
        again = opened(1_750_000_000_000, seen).feed(answer(old, new))

        assert [one.text for one in first.messages] == ["new"]
        assert again.messages == []

    def test_what_one_poll_brings_lies_where_it_was_said(self) -> None:
        times = iter([5_000, 20_000, 20_000])
        codec = YoutubeCodec(clock=lambda: next(times))
        codec.feed(PAGE)
        sent = (4_000_000, 7_000_000, 12_500_000, 30_000_000)
        said = [item("liveChatTextMessageRenderer", id=f"id-{at}", timestampUsec=str(at)) for at in sent]

        received = [one.received_at for one in codec.feed(answer(*said)).messages]

        assert received == [5_000, 7_000, 12_500, 20_000]  # since the last answer, and not in the future


class TestItems:
    def test_a_text_with_pictures_and_badges(self) -> None:
        own = {
            "emojiId": "UC42/abc",
            "shortcuts": [":wave:", ":w:"],
            "isCustomEmoji": True,
            "image": {"thumbnails": [{"url": "//yt3/s"}, {"url": "//yt3/l"}]},
        }
        text = {"runs": [{"text": "hi "}, {"emoji": own}, {"text": " "}, {"emoji": {"emojiId": "😀"}}, {"emoji": own}]}
        shown = [
            {"liveChatAuthorBadgeRenderer": {"icon": {"iconType": "MODERATOR"}, "tooltip": "Moderator"}},
            {"liveChatAuthorBadgeRenderer": {"customThumbnail": {}, "tooltip": "Member (2 years)"}},
            {"liveChatAuthorBadgeRenderer": {"icon": {"iconType": "VERIFIED"}}},
        ]

        assert message(item("liveChatTextMessageRenderer", message=text, authorBadges=shown)) == ChatMessage(
            MessageKind.CHAT,
            NOW,
            "id-1",
            1_750_000_000_000,
            "Ann",
            "UC42",
            "hi :wave: 😀:wave:",
            badges=(Badge("moderator", "moderator"), Badge("member", "Member (2 years)", 24), Badge("fan", "verified")),
            emotes=(Emote(":wave:", "https://yt3/l", "UC42/abc", (3, 11)),),
        )

    def test_a_paid_message(self) -> None:
        said = message(
            item(
                "liveChatPaidMessageRenderer",
                purchaseAmountText={"simpleText": "€1,234.50"},
                bodyBackgroundColor=0xFFE62117,
                message=runs("take it"),
            )
        )

        assert (said.kind, said.price, said.currency) == (MessageKind.SUPER_CHAT, 1_234_500, "EUR")
        assert (said.colour, said.text) == (0xE62117, "take it")

    def test_the_ticker_beside_it_says_how_long_it_stays(self) -> None:
        paid = item("liveChatPaidMessageRenderer", purchaseAmountText={"simpleText": "$5.00"})
        other = item("liveChatTextMessageRenderer", id="id-2", message=runs("x"))
        ticker = {"liveChatTickerPaidMessageItemRenderer": {"id": "id-1", "durationSec": 110, "fullDurationSec": 120}}

        decoded = opened().feed(
            answer(paid, other, {"addLiveChatTickerItemAction": {"item": ticker, "durationSec": "110"}})
        )

        assert [(one.id, one.duration_s) for one in decoded.messages] == [("id-1", 120), ("id-2", 0)]

    def test_a_sticker(self) -> None:
        sticker = {
            "accessibility": {"accessibilityData": {"label": "A cat that waves"}},
            "thumbnails": [{"url": "//lh3/cat"}],
        }

        said = message(
            item(
                "liveChatPaidStickerRenderer",
                purchaseAmountText={"simpleText": "¥200"},
                sticker=sticker,
                backgroundColor=5,
            )
        )

        assert (said.kind, said.action, said.price, said.currency) == (
            MessageKind.SUPER_CHAT,
            "sticker",
            200_000,
            "JPY",
        )
        assert (said.gift, said.emotes[0].url, said.colour) == ("A cat that waves", "https://lh3/cat", 5)

    def test_a_new_member(self) -> None:
        said = message(item("liveChatMembershipItemRenderer", headerSubtext=runs("Welcome to ", "Club", "!")))

        assert (said.kind, said.action, said.quantity) == (MessageKind.MEMBERSHIP, "", 1)
        assert (said.gift, said.text) == ("Welcome to Club!", "Welcome to Club!")

    def test_a_milestone_with_its_message(self) -> None:
        said = message(
            item(
                "liveChatMembershipItemRenderer",
                headerPrimaryText=runs("Member for ", "12", " months"),
                headerSubtext={"simpleText": "Club"},
                message=runs("a year!"),
            )
        )

        assert (said.action, said.quantity, said.gift, said.text) == ("milestone", 12, "Club", "a year!")

    def test_gifted_memberships_are_counted_once(self) -> None:
        header = {
            "authorName": {"simpleText": "Bob"},
            "authorBadges": [{"liveChatAuthorBadgeRenderer": {"icon": {"iconType": "OWNER"}}}],
            "primaryText": runs("Sent ", "20", " Club gift memberships"),
        }
        bare = {name: AUTHOR[name] for name in ("id", "timestampUsec", "authorExternalChannelId")}
        renderer = "liveChatSponsorshipsGiftPurchaseAnnouncementRenderer"
        bought = message(
            {
                "addChatItemAction": {
                    "item": {renderer: bare | {"header": {"liveChatSponsorshipsHeaderRenderer": header}}}
                }
            }
        )
        received = message(
            item(
                "liveChatSponsorshipsGiftRedemptionAnnouncementRenderer",
                message=runs("was gifted a membership by ", "Bob"),
            )
        )

        assert (bought.kind, bought.action, bought.quantity) == (MessageKind.MEMBERSHIP, "gift", 20)
        assert (bought.user, bought.uid, bought.id, bought.badges) == (
            "Bob",
            "UC42",
            "id-1",
            (Badge("moderator", "owner"),),
        )
        assert (received.kind, received.action, received.user) == (MessageKind.SYSTEM, "gift_received", "Ann")

    def test_a_change_of_mode(self) -> None:
        said = message(item("liveChatModeChangeMessageRenderer", text=runs("Slow mode is on"), subtext=runs("5 s")))

        assert (said.kind, said.text) == (MessageKind.SYSTEM, "Slow mode is on 5 s")


class TestModeration:
    @pytest.mark.parametrize("name", ["markChatItemAsDeletedAction", "removeChatItemAction"])
    def test_a_deleted_message(self, name: str) -> None:
        said = message({name: {"targetItemId": "id-9"}})

        assert (said.kind, said.action, said.target) == (MessageKind.MODERATION, "delete", "id-9")

    @pytest.mark.parametrize("name", ["markChatItemsByAuthorAsDeletedAction", "removeChatItemByAuthorAction"])
    def test_everything_of_somebody(self, name: str) -> None:
        said = message({name: {"externalChannelId": "UC9"}})

        assert (said.kind, said.action, said.target) == (MessageKind.MODERATION, "ban", "UC9")

    def test_a_message_that_was_held_back(self) -> None:
        held = {"liveChatTextMessageRenderer": AUTHOR | {"message": runs("released")}}

        said = message({"replaceChatItemAction": {"targetItemId": "id-0", "replacementItem": held}})

        assert (said.kind, said.text, said.target) == (MessageKind.CHAT, "released", "id-0")

    def test_what_is_of_no_use_is_counted(self) -> None:
        codec = opened()
        codec.feed(answer({"addLiveChatTickerItemAction": {}}, item("liveChatPlaceholderItemRenderer"), {}))

        assert codec.counters.ignored == {
            "addLiveChatTickerItemAction": 1,
            "liveChatPlaceholderItemRenderer": 1,
            "empty": 1,
        }


class TestAnything:
    @given(st.binary(max_size=300))
    def test_no_bytes_raise(self, data: bytes) -> None:
        check([data], YoutubeCodec().feed)
        check([data], opened().feed)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["addChatItemAction", "item", "runs", "text", "emoji", "id"]), inner, max_size=3
                )
            ),
            max_leaves=20,
        ),
        st.sampled_from(
            ["liveChatTextMessageRenderer", "liveChatPaidStickerRenderer", "liveChatMembershipItemRenderer"]
        ),
    )
    def test_no_shape_raises(self, value: Any, renderer: str) -> None:
        fields = value if isinstance(value, dict) else {"message": value, "authorBadges": value, "sticker": value}

        check([answer({"addChatItemAction": {"item": {renderer: fields}}}), answer(value)], opened().feed)

    @given(st.data())
    def test_no_mutation_of_a_true_frame_raises(self, data: st.DataObject) -> None:
        frame = bytearray(data.draw(st.sampled_from(SEEDS)))
        for at in data.draw(st.lists(st.integers(0, len(frame) - 1), max_size=8)):
            frame[at] = data.draw(st.integers(0, 255))

        check(bytes(frame).split(SEPARATOR), YoutubeCodec().feed)

    def test_a_frame_beyond_the_limit_is_counted(self) -> None:
        codec = opened()
        decoded: Decoded = codec.feed(b" " * (MAX_FRAME_BYTES + 1))

        assert (decoded.messages, codec.counters.oversized) == ([], 1)
        assert decoded.reconnect


class TestPolls:
    HEADER: ClassVar[dict[str, Any]] = {
        "pollQuestion": {"simpleText": "Which?"},
        "metadataText": runs("@ann", " • ", "9 votes"),
    }

    def poll(self, *shares: str) -> dict[str, Any]:
        choices = [{"text": runs("Cats")}, {"text": runs("Dogs")}]
        for choice, share in zip(choices, shares, strict=False):
            choice["votePercentage"] = {"simpleText": share}
        return {
            "pollRenderer": {"liveChatPollId": "p1", "choices": choices, "header": {"pollHeaderRenderer": self.HEADER}}
        }

    def shown(self) -> dict[str, Any]:
        panel = {"liveChatActionPanelRenderer": {"id": "panel", "contents": self.poll()}}
        return {"showLiveChatActionPanelAction": {"panelToShow": panel}}

    def voted(self, *shares: str) -> dict[str, Any]:
        return {"updateLiveChatPollAction": {"pollToUpdate": self.poll(*shares)}}

    CLOSED: ClassVar[dict[str, Any]] = {
        "closeLiveChatActionPanelAction": {"targetPanelId": "panel", "skipOnDismissCommand": True}
    }

    def test_a_poll_is_told_once_and_its_result_when_it_is_closed(self) -> None:
        codec = opened()
        first = codec.feed(answer(self.shown(), self.voted("100%", "0%"))).messages
        later = codec.feed(answer(self.voted("33%", "67%"), self.CLOSED, self.CLOSED)).messages

        assert [(one.kind, one.action, one.text, one.user, one.id) for one in first + later] == [
            (MessageKind.SYSTEM, "poll", "Which? / Cats / Dogs", "@ann", "p1"),
            (MessageKind.SYSTEM, "poll_result", "Which? / Cats 33% / Dogs 67% / 9 votes", "@ann", "p1:result"),
        ]

    def test_who_comes_later_hears_of_it_with_the_next_vote(self) -> None:
        assert message(self.voted("50%", "50%")).action == "poll"

    def test_a_panel_that_is_no_poll_is_counted(self) -> None:
        codec = opened()
        assert codec.feed(answer(self.CLOSED)).messages == []
        assert codec.counters.ignored == {"closeLiveChatActionPanelAction": 1}

"""Fuzzes the codec of YouTube's live chat: a page, then answers."""

from __future__ import annotations

from collections.abc import Callable

from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.youtube import YoutubeCodec
from services.danmu.fuzz.harness import SEPARATOR, run

PAGE = (
    b'<script>ytcfg.set({"INNERTUBE_API_KEY":"k","INNERTUBE_CONTEXT":{"client":{"clientName":"WEB","clientVersion":"2"}}});'
    b'</script><script>window["ytInitialData"] = {"contents":{"liveChatRenderer":{"continuations":[{"timedContinuationData":'
    b'{"continuation":"c","timeoutMs":1000}}],"actions":[]}}};</script>'
)
_ANSWER = (
    b'{"continuationContents":{"liveChatContinuation":{"continuations":[{"invalidationContinuationData":{"continuation":"d",'
    b'"timeoutMs":5000}}],"actions":[%s]}}}'
)
_AUTHOR = (
    b'"id":"i","timestampUsec":"1750000000000000","authorName":{"simpleText":"Ann"},"authorExternalChannelId":"UC1",'
    b'"authorBadges":[{"liveChatAuthorBadgeRenderer":{"icon":{"iconType":"OWNER"}}},{"liveChatAuthorBadgeRenderer":'
    b'{"customThumbnail":{},"tooltip":"Member (2 years)"}}]'
)
_ITEMS = (
    b'"liveChatTextMessageRenderer":{%s,"message":{"runs":[{"text":"a"},{"emoji":{"emojiId":"UC/x","shortcuts":[":x:"],'
    b'"isCustomEmoji":true,"image":{"thumbnails":[{"url":"//y"}]}}}]}}' % _AUTHOR,
    b'"liveChatPaidMessageRenderer":{%s,"purchaseAmountText":{"simpleText":"CA$1,234.50"},"bodyBackgroundColor":4293271831}'
    % _AUTHOR,
    b'"liveChatPaidStickerRenderer":{%s,"purchaseAmountText":{"simpleText":"5,00 \xe2\x82\xac"},"sticker":{"accessibility":'
    b'{"accessibilityData":{"label":"A cat"}},"thumbnails":[{"url":"//z"}]}}' % _AUTHOR,
    b'"liveChatMembershipItemRenderer":{%s,"headerPrimaryText":{"runs":[{"text":"Member for "},{"text":"12"}]}}'
    % _AUTHOR,
    b'"liveChatSponsorshipsGiftPurchaseAnnouncementRenderer":{"id":"g","header":{"liveChatSponsorshipsHeaderRenderer":'
    b'{"authorName":{"simpleText":"B"},"primaryText":{"runs":[{"text":"Sent "},{"text":"5"}]}}}}',
)
_ACTIONS = (
    *(b'{"addChatItemAction":{"item":{%s}}}' % item for item in _ITEMS),
    b'{"markChatItemAsDeletedAction":{"targetItemId":"i"}}',
    b'{"markChatItemsByAuthorAsDeletedAction":{"externalChannelId":"UC1"}}',
    b'{"replaceChatItemAction":{"targetItemId":"i","replacementItem":{%s}}}' % _ITEMS[0],
)
_TICKER = b',{"addLiveChatTickerItemAction":{"item":{"liveChatTickerPaidMessageItemRenderer":{"id":"i","fullDurationSec":120}}}}'
SEEDS = (
    PAGE,
    PAGE + SEPARATOR + _ANSWER % (_ACTIONS[1] + _TICKER),
    *(PAGE + SEPARATOR + _ANSWER % action for action in _ACTIONS),
)


def connect() -> Callable[[bytes], Decoded]:
    """The feed of one connection."""
    return YoutubeCodec(clock=lambda: 1).feed


if __name__ == "__main__":
    run(connect, SEEDS)

"""Polls of a YouTube live chat: shown once, told again with every vote, and taken away.

Field names: the documentation of YouTube.js (ShowLiveChatActionPanelAction, UpdateLiveChatPollAction, CloseLiveChatActionPanelAction,
Poll, PollHeader). Shares come with the updates only; who asks and how many have voted stands in ``metadataText``, in the first run and
the last one.
"""

from __future__ import annotations

from typing import Any, Final

from services.danmu.adapters.json_fields import MAX_NAME, list_at, object_at, text_at
from services.danmu.adapters.messages import ChatMessage, poll
from services.danmu.adapters.youtube_actions import plain

Json = dict[str, Any]

MAX_ANSWERS: Final = 16


class Polls:
    """The poll that is open in a chat; there is one at a time."""

    def __init__(self) -> None:
        self._result: ChatMessage | None = None

    def messages_of(self, action: object, now: int) -> list[ChatMessage]:
        """What an action says about polls: the poll under its id each time it is told, its last known result when it is closed."""
        panel = object_at(
            action, "showLiveChatActionPanelAction", "panelToShow", "liveChatActionPanelRenderer", "contents"
        )
        if data := object_at(panel, "pollRenderer"):
            self._result = None
            return [_poll(data, now, with_shares=False)]
        if data := object_at(action, "updateLiveChatPollAction", "pollToUpdate", "pollRenderer"):
            self._result = _poll(data, now, with_shares=True)
            # A listener who came later has not been shown it; without an id nobody could tell that it is the same one.
            return [_poll(data, now, with_shares=False)] if text_at(data, "liveChatPollId") else []
        if self._result is not None and object_at(action, "closeLiveChatActionPanelAction"):
            closed, self._result = self._result, None
            return [closed._replace(received_at=now)]
        return []


def _poll(data: Json, now: int, *, with_shares: bool) -> ChatMessage:
    header = object_at(data, "header", "pollHeaderRenderer")
    about = list_at(header, "metadataText", "runs", limit=16)
    answers = [_answer(one, with_shares) for one in list_at(data, "choices", limit=MAX_ANSWERS)]
    if with_shares:
        answers.append(text_at(about, -1, "text"))
    said = poll(now, plain(header.get("pollQuestion"))[:MAX_NAME], answers, result=with_shares)
    poll_id = text_at(data, "liveChatPollId")
    return said._replace(id=f"{poll_id}:result" if with_shares and poll_id else poll_id, user=text_at(about, 0, "text"))


def _answer(choice: object, with_share: bool) -> str:
    share = text_at(choice, "votePercentage", "simpleText") if with_share else ""
    return f"{plain(object_at(choice, 'text'))[:MAX_NAME]} {share}".strip()

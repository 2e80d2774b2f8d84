"""Streamers as people configure them, and what the monitor last said about their channels."""

from __future__ import annotations

from contracts.config import (
    StreamerAdded,
    StreamerChanged,
    StreamerRemoved,
    StreamerResolved,
    StreamerStarted,
    StreamerStopped,
)
from contracts.monitor import ChannelFailed, ChannelRecovered, ChannelTitleChanged, ChannelWentLive, ChannelWentOffline

from services.gateway.projections.model import Change, Folded, Row, Table, own_key

_CONFIGURED = (StreamerAdded, StreamerChanged, StreamerStarted, StreamerStopped, StreamerResolved, StreamerRemoved)
_SEEN = (ChannelWentLive, ChannelWentOffline, ChannelTitleChanged, ChannelFailed, ChannelRecovered)


def streamer(row: Row | None, change: Change) -> Row | None:
    """The row of a streamer after an event of its own stream."""
    event = change.event
    moved = {"version": change.version, "updated_at": change.time}
    if isinstance(event, StreamerAdded):
        return {
            **event.model_dump(mode="json"),
            "effective": None,
            "provenance": None,
            "created_at": change.time,
            **moved,
        }
    if row is None or isinstance(event, StreamerRemoved):
        return None
    match event:
        case StreamerChanged():
            return {**row, **event.model_dump(mode="json"), **moved}
        case StreamerStarted():
            return {**row, "enabled": True, **moved}
        case StreamerStopped():
            return {**row, "enabled": False, **moved}
        case StreamerResolved():
            return {**row, **event.model_dump(mode="json", include={"effective", "provenance"}), **moved}
    return row


def channel(row: Row | None, change: Change) -> Row:
    """The row of a channel after an event of its own stream."""
    event = change.event
    before = row or {"live": False, "title": "", "category": "", "error": "", "fatal": False}
    now = {**before, "streamer_id": event.key, "changed_at": change.time}
    match event:
        case ChannelWentLive():
            return {**now, "live": True, "title": event.title, "category": event.category}
        case ChannelTitleChanged():
            return {**now, "title": event.title, "category": event.category}
        case ChannelWentOffline():
            return {**now, "live": False}
        case ChannelFailed():
            return {**now, "error": event.error, "fatal": event.fatal}
        case ChannelRecovered():
            return {**now, "error": "", "fatal": False}
    return now


STREAMERS = Folded(
    "streamers",
    1,
    (*_CONFIGURED, *_SEEN),
    (
        Table("streamers", ("streamer_id",), own_key(*_CONFIGURED), streamer),
        Table("channels", ("streamer_id",), own_key(*_SEEN), channel),
    ),
)

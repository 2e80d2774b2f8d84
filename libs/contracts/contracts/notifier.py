"""What the notifier owns: where messages go and what became of each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.message import Command, Event
from contracts.values import Id, Name

Target = Literal["webhook", "apprise"]
EventTypes = Annotated[tuple[Annotated[str, Field(max_length=128)], ...], Field(max_length=64)]


class SaveTarget(Command, type="notifier.save_target.v1", key="target_id"):
    """Add or change a place notifications go to. Address and secret are sealed by the sender with the system key, never in clear.

    An empty ``sealed_address`` keeps address and secret of a place that is known. ``events`` holds patterns such as ``session.*`` or
    ``monitor.session.opened``; without any, everything that can be told is told.
    """

    target_id: Id
    kind: Target
    name: Name
    sealed_address: str
    sealed_secret: str = ""
    events: EventTypes = ()
    enabled: bool = True


class RemoveTarget(Command, type="notifier.remove_target.v1", key="target_id"):
    """Send nothing to this place any more and forget its secrets."""

    target_id: Id


class TestTarget(Command, type="notifier.test_target.v1", key="target_id"):
    """Send one test message to a place."""

    __test__ = False

    target_id: Id


class Redeliver(Command, type="notifier.redeliver.v1", key="notification_id"):
    """Try once more to deliver a notification that failed. Lies in its dead letter, so that replaying the letter does this."""

    notification_id: Id


class TargetSaved(Event, type="notifier.target.saved.v1", key="target_id"):
    """A place for notifications was set. ``host`` is shown to people; the address itself stays with the notifier, encrypted."""

    target_id: Id
    kind: Target
    name: str
    host: str
    events: EventTypes
    enabled: bool


class TargetRemoved(Event, type="notifier.target.removed.v1", key="target_id"):
    """A place was removed and its data key deleted."""

    target_id: Id


class NotificationRequested(Event, type="notifier.notification.requested.v1", key="notification_id"):
    """An event is to be told to one place; appended again when a failed notification gets another try."""

    notification_id: Id
    target_id: Id
    event_id: str
    event_type: str


class NotificationDelivered(Event, type="notifier.notification.delivered.v1", key="notification_id"):
    """The other side confirmed the message."""

    notification_id: Id
    target_id: Id
    event_type: str
    attempts: int


class NotificationFailed(Event, type="notifier.notification.failed.v1", key="notification_id"):
    """The message was given up. It is put into the dead letters, unless its place was removed: then nobody is left to tell."""

    notification_id: Id
    target_id: Id
    event_type: str
    attempts: int
    error: str

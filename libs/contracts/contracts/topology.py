"""Who reacts to which events and who sends which commands. Consumers, permissions and documentation are derived from here."""

from __future__ import annotations

from contracts import config, danmu, downloader, monitor, notifier, pipeline, scheduler, system, uploader
from contracts.message import Command, Event, Message, Signal
from contracts.system import SERVICES

PROJECTOR = "projector"
"""The gateway's consumer that reads every event into the event store."""

NOTIFIABLE: tuple[type[Event], ...] = (
    monitor.ChannelWentLive,
    monitor.ChannelWentOffline,
    monitor.ChannelTitleChanged,
    monitor.ChannelFailed,
    monitor.ChannelRecovered,
    monitor.SessionOpened,
    monitor.SessionClosed,
    downloader.RecordingStarted,
    downloader.SegmentCompleted,
    downloader.GapOpened,
    downloader.RecordingEnded,
    downloader.DiskLow,
    downloader.DiskUnavailable,
    downloader.DiskRecovered,
    danmu.ChatUnreachable,
    danmu.ChatEnded,
    pipeline.RunFailed,
    pipeline.SessionFinished,
    pipeline.SessionReclaimed,
    uploader.UploadCompleted,
    uploader.UploadFailed,
    scheduler.WatchCrashed,
)

CONSUMES: dict[str, tuple[type[Event], ...]] = {
    "config": (),
    "scheduler": (
        config.StreamerResolved,
        config.StreamerRemoved,
        monitor.ChannelWentLive,
        monitor.ChannelTitleChanged,
        monitor.SessionOpened,
        monitor.SessionClosed,
        downloader.RecordingEnded,
    ),
    "monitor": (),
    "downloader": (),
    "danmu": (
        scheduler.RecordingPlanned,
        scheduler.ProcessStopping,
        scheduler.ProcessCompleted,
        downloader.SegmentOpened,
        downloader.SegmentCompleted,
        downloader.SegmentDiscarded,
    ),
    "pipeline": (
        scheduler.RecordingPlanned,
        scheduler.ProcessCompleted,
        downloader.SegmentCompleted,
        danmu.ChatFileCompleted,
        danmu.ChatEnded,
        uploader.UploadRequested,
        uploader.UploadCompleted,
        uploader.UploadFailed,
        uploader.UploadCancelled,
    ),
    "uploader": (),
    "notifier": (*NOTIFIABLE, config.StreamerResolved, config.StreamerRemoved),
    "gateway": (),
}

_MAINTENANCE = tuple(
    system.of(service, shape)
    for service in SERVICES
    for shape in (system.Republish, system.ReplayDeadLetter, system.DropDeadLetter)
)

SENDS: dict[str, tuple[type[Command], ...]] = {
    "config": (),
    "scheduler": (
        monitor.CheckChannel,
        monitor.CloseSession,
        downloader.StartRecording,
        downloader.StopRecording,
        downloader.CutRecording,
        downloader.ReconfigureRecording,
    ),
    "monitor": (config.TellCredential,),
    "downloader": (monitor.CheckChannel, config.TellCredential),
    "danmu": (config.TellCredential,),
    "pipeline": (uploader.StartUpload, uploader.CancelUpload),
    "uploader": (),
    "notifier": (),
    "gateway": (
        config.AddStreamer,
        config.ChangeStreamer,
        config.RemoveStreamer,
        config.StartStreamer,
        config.StopStreamer,
        config.SaveLayer,
        config.RemoveLayer,
        config.SaveCredential,
        config.RemoveCredential,
        monitor.CheckChannel,
        downloader.CutRecording,
        downloader.StopRecording,
        downloader.SetSlots,
        pipeline.PlanRun,
        pipeline.RetryRun,
        pipeline.CancelRun,
        pipeline.Reclaim,
        uploader.StartUpload,
        uploader.CancelUpload,
        notifier.SaveTarget,
        notifier.RemoveTarget,
        notifier.TestTarget,
        notifier.Redeliver,
        *_MAINTENANCE,
    ),
}

DIRECT: tuple[type[Command], ...] = (monitor.CheckChannel, config.TellCredential)
"""Commands that are published without outbox and handled without inbox: losing one is repaired by the next."""

LISTENS: dict[str, tuple[type[Signal], ...]] = {
    **dict.fromkeys(SERVICES, ()),
    "monitor": (config.CredentialTold,),
    "downloader": (monitor.SourcesResolved, config.CredentialTold),
    "danmu": (config.CredentialTold,),
}
"""Signals a service reads besides the gateway, which reads all."""


def senders(cls: type[Message]) -> tuple[str, ...]:
    """The services that send a message: the owner of an event or a signal, whoever may ask a command."""
    if issubclass(cls, Command):
        return tuple(service for service in SERVICES if cls in SENDS[service])
    return (cls.service,)


def receivers(cls: type[Message]) -> tuple[str, ...]:
    """The services that react to a message. The projector, which reads every event into the event store, is not among them."""
    if issubclass(cls, Command):
        return (cls.service,)
    if issubclass(cls, Signal):
        return tuple(service for service in SERVICES if service == "gateway" or cls in LISTENS[service])
    return tuple(service for service in SERVICES if cls in CONSUMES[service])


def ordering_key(message: object) -> str:
    """What must be handled in order: everything of one session, else of one streamer, else of one aggregate."""
    for name in ("session_id", "streamer_id", "key"):
        value = getattr(message, name, "")
        if value:
            return str(value)
    return ""

"""From what an engine tells to the events of a recording, and from a recording to the names of its files."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath

import structlog
from contracts import downloader
from contracts.downloader import RecordingRequested
from contracts.values import Artifact, Effective, Json
from media.naming import BadTemplate, render
from media.repair.model import Repair, RepairKind
from media.repair.records import to_record

from services.downloader.adapters.engine import GapClosed, GapOpened, SegmentCompleted, SegmentOpened
from services.downloader.adapters.files import MEDIA_TYPES
from services.downloader.domain import OpenSegment

log = structlog.get_logger(__name__)


class Facts:
    """Events of one recording. ``request`` is replaced when its title or its configuration changes."""

    def __init__(self, request: RecordingRequested) -> None:
        self.request = request
        self._ids = {
            "recording_id": request.recording_id,
            "session_id": request.session_id,
            "streamer_id": request.streamer_id,
        }

    def key(self, index: int, started_at: datetime, extension: str) -> PurePosixPath:
        """The name of a finished file below the storage, in local time as its template says."""
        request = self.request
        values = {
            "streamer": request.streamer_name,
            "title": request.title,
            "platform": request.platform,
            "category": request.category,
            "session": request.session_id,
        }
        at = started_at.astimezone()
        try:
            name = render(request.effective.file_template, values, at=at, index=index)
        except BadTemplate as error:
            # The configuration is checked where it is made; a recording must not fail for its name.
            log.warning("file_template.bad", template=request.effective.file_template, error=str(error))
            name = render(Effective().file_template, values, at=at, index=index)
        return name.with_name(f"{name.name}.{extension}")

    def smallest(self, default: int) -> int:
        """Bytes below which a finished file is not kept; ``default`` where the streamer's settings say nothing."""
        wanted = self.request.effective.min_segment_bytes
        return default if wanted is None else wanted

    def started(self, worker: str, epoch: int) -> downloader.RecordingStarted:
        """This replica owns the recording from here on."""
        return downloader.RecordingStarted(
            **self._ids, worker=worker, epoch=epoch, engine=self.request.effective.engine.value
        )

    def opened(self, event: SegmentOpened, uri: str) -> downloader.SegmentOpened:
        """A file was begun."""
        return downloader.SegmentOpened(
            **self._ids,
            index=event.index,
            uri=uri,
            start_ms=event.start_ms,
            started_at=event.started_at.isoformat(),
        )

    def completed(
        self, event: SegmentCompleted, opened: OpenSegment, artifact: Artifact
    ) -> downloader.SegmentCompleted:
        """A file is finished."""
        return downloader.SegmentCompleted(
            **self._ids,
            index=event.index,
            artifact=artifact,
            start_ms=event.start_ms,
            duration_ms=event.duration_ms,
            started_at=event.started_at.isoformat() if event.started_at else opened.started_at,
            split_reason=event.reason,
            repairs=event.repairs,
        )

    def recovered(self, opened: OpenSegment, duration_ms: int, artifact: Artifact) -> downloader.SegmentCompleted:
        """A file was made whole that its owner could not finish; its breaks are those that were told while it was written."""
        repairs = _breaks(opened, duration_ms) if artifact.media_type == MEDIA_TYPES["flv"] else ()
        return downloader.SegmentCompleted(
            **self._ids,
            index=opened.index,
            artifact=artifact,
            start_ms=opened.start_ms,
            duration_ms=duration_ms,
            started_at=opened.started_at,
            split_reason="recovered",
            repairs=repairs,
            recovered=True,
        )

    def discarded(self, index: int, reason: str) -> downloader.SegmentDiscarded:
        """A file holds nothing of use, or is lost."""
        return downloader.SegmentDiscarded(**self._ids, index=index, reason=reason[:500])

    def gap_opened(self, event: GapOpened) -> downloader.GapOpened:
        """Media is missing."""
        return downloader.GapOpened(**self._ids, at_ms=event.at_ms, cause=event.cause[:500])

    def gap_closed(self, event: GapClosed) -> downloader.GapClosed:
        """Media again."""
        return downloader.GapClosed(**self._ids, at_ms=event.at_ms, lost_ms=event.lost_ms)

    def progress(self, index: int, size: int, duration_ms: int, bitrate: int) -> downloader.RecordingProgress:
        """How the recording is doing."""
        return downloader.RecordingProgress(
            **self._ids, index=index, bytes=size, duration_ms=duration_ms, bitrate=bitrate
        )


def open_segment(event: downloader.SegmentOpened, epoch: int, worker: str) -> OpenSegment:
    """The state of a file that was just begun."""
    return OpenSegment(event.index, epoch, worker, event.start_ms, event.started_at, event.uri)


def _breaks(opened: OpenSegment, duration_ms: int) -> tuple[Json, ...]:
    """The breaks of an FLV, whose timeline is closed over them; other containers keep the time of what they miss."""
    end_ms = opened.start_ms + duration_ms
    return tuple(
        to_record(Repair(RepairKind.GAP, None, at_ms, lost_ms, "told before a crash", lost_ms))
        for at_ms, lost_ms in opened.breaks
        if opened.start_ms < at_ms < end_ms
    )

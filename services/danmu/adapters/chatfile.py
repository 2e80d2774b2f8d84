"""The chat of one media segment on disk: its log and its XML, written together from the journal of the session."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from media.chat.head import ChatHead
from media.chat.log import ChatLogWriter, LogHead
from media.chat.message import ChatMessage, MessageKind
from media.chat.timing import Timing
from media.chat.xml import XmlChatWriter

LOG_SUFFIX: Final = ".chat.jsonl.gz"
XML_SUFFIX: Final = ".xml"
PART_SUFFIX: Final = ".part"
"""What a file that is being written ends in; without it a file is finished and will not change."""


@dataclass(frozen=True, slots=True)
class ChatFileResult:
    """A finished pair. `lines` counts all messages (the XML may hold fewer), `bytes` both files."""

    log_path: Path
    xml_path: Path
    lines: int
    bytes: int
    kinds: dict[str, int] = field(default_factory=dict)


class ChatFile:
    """One log and one XML under ``.part`` names until `close`. Not for use by two tasks at once."""

    def __init__(self, stem: Path, log: ChatLogWriter, xml: XmlChatWriter, kinds: Counter[MessageKind]) -> None:
        self._stem = stem
        self._log = log
        self._xml = xml
        self._kinds = kinds

    @classmethod
    def open(cls, path_stem: Path, timing: Timing, head: ChatHead) -> ChatFile:
        """Create the files of a segment beside its media: ``<stem>.chat.jsonl.gz`` and ``<stem>.xml``.

        `timing` says where in the media a message belongs. Raises FileExistsError when any file of this stem is there,
        finished or not.
        """
        for path in (_log_path(path_stem), _xml_path(path_stem)):
            if path.exists():
                raise FileExistsError(path)
        path_stem.parent.mkdir(parents=True, exist_ok=True)
        log = ChatLogWriter(_part(_log_path(path_stem)), LogHead(head, timing))
        try:
            xml = XmlChatWriter(_part(_xml_path(path_stem)), timing, head)
        except OSError:
            log.close()
            _part(_log_path(path_stem)).unlink()
            raise
        return cls(path_stem, log, xml, Counter())

    def write(self, message: ChatMessage) -> None:
        """Add one message to both files. Raises OSError when they cannot grow; the message is kept for the next write."""
        self._kinds[message.kind] += 1
        try:
            self._log.append(message)
        finally:
            self._xml.write(message)

    def close(self) -> ChatFileResult:
        """Finish both files, sync them and give them their final names.

        The log comes last: its final name says that the pair is finished.
        """
        log_path, xml_path = _log_path(self._stem), _xml_path(self._stem)
        size = self._log.close() + self._xml.close()
        _part(xml_path).replace(xml_path)
        _part(log_path).replace(log_path)
        _sync_directory(self._stem.parent)
        kinds = {kind.value: count for kind, count in self._kinds.items()}
        return ChatFileResult(log_path, xml_path, self._kinds.total(), size, kinds)

    def discard(self) -> None:
        """Remove both unfinished files, for a segment that is not kept."""
        self._log.abandon()
        self._xml.abandon()
        _part(_log_path(self._stem)).unlink(missing_ok=True)
        _part(_xml_path(self._stem)).unlink(missing_ok=True)


def _log_path(stem: Path) -> Path:
    return stem.with_name(stem.name + LOG_SUFFIX)


def _xml_path(stem: Path) -> Path:
    return stem.with_name(stem.name + XML_SUFFIX)


def _part(path: Path) -> Path:
    return path.with_name(path.name + PART_SUFFIX)


def _sync_directory(path: Path) -> None:
    """A rename is durable when its directory is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

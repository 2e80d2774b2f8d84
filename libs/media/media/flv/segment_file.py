"""One recorded file: header, metadata with reserved room, sequence headers, media from 0 on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO, Final

from media.flv.amf0 import AmfValue
from media.flv.metadata import KeyframeIndex, encode_metadata, encode_used
from media.flv.tag import AUDIO, PREVIOUS_TAG_SIZE, SCRIPT, SCRIPT_DATA, TAG_HEADER_SIZE, VIDEO, FlvHeader, Tag
from media.flv.writer import DEFAULT_BUFFER, FILE_HEADER_SIZE, FlvWriter, encode_header

PATCH_INTERVAL_MS: Final = 5000
_PAYLOAD_POSITION: Final = FILE_HEADER_SIZE + 4 + TAG_HEADER_SIZE


class SegmentFile:
    """Writes one file and keeps its index true on disk every few seconds of media: a killed process leaves a file that plays and seeks."""

    def __init__(
        self,
        file: BinaryIO,
        *,
        start_ms: int,
        headers: Sequence[Tag],
        fields: Mapping[str, AmfValue],
        room: int,
        buffer_size: int = DEFAULT_BUFFER,
    ) -> None:
        self.start_ms = start_ms
        self.end_ms = start_ms
        self.keyframes = 0
        self.media_tags = 0
        self._file = file
        self._fields = fields
        self._index = KeyframeIndex(room)
        self._audio_index = KeyframeIndex(room)
        self._writer = FlvWriter(file, buffer_size=buffer_size)
        self._flags = self._header_flags(headers)
        self._patched_flags = self._flags
        self._patched_at = start_ms
        self._patched_used = 0
        self._writer.start(FlvHeader(flags=self._flags))
        metadata = encode_metadata(fields, self._places, duration_ms=0, file_size=self._writer.position)
        opening = [Tag(SCRIPT, start_ms, memoryview(metadata.payload), SCRIPT_DATA)]
        opening += [Tag(tag.type, start_ms, tag.payload, tag.kind) for tag in headers]
        self._writer.write(opening, start_ms)
        # On disk before the first picture: what exists can be seen, and recovered.
        self._writer.flush()

    @property
    def size(self) -> int:
        """Bytes of the file when it is closed now."""
        return self._writer.position

    @property
    def has_video(self) -> bool:
        return bool(self._flags & 1)

    @property
    def duration_ms(self) -> int:
        return self.end_ms - self.start_ms

    def write(self, tags: Sequence[Tag]) -> None:
        """Append media tags in order."""
        if not tags:
            return
        if self._flags != 5:
            self._flags |= self._header_flags(tags)
        position = self._writer.position
        keyframes = self._writer.write(tags, self.start_ms)
        if not self._flags & 1:  # without video every audio tag is a place to start
            for tag in tags:
                self._audio_index.add(tag.timestamp - self.start_ms, position)
                position += TAG_HEADER_SIZE + len(tag.payload) + PREVIOUS_TAG_SIZE
        for time_ms, at in keyframes:
            self._index.add(time_ms, at)
        self.keyframes += len(keyframes)
        self.media_tags += len(tags)
        self.end_ms = tags[-1].timestamp
        if self.end_ms - self._patched_at >= PATCH_INTERVAL_MS:
            self._patch()

    def settle(self) -> None:
        """Nothing more comes for now; see `FlvWriter.settle`."""
        self._writer.settle()

    def write_end_marker(self, tag: Tag) -> None:
        """Append the marker that ends a sequence, at the time of the last media."""
        self._writer.write([Tag(tag.type, self.end_ms, tag.payload, tag.kind)], self.start_ms)

    def close(self) -> int:
        """Write what is buffered, make the index final and close the file; return its size."""
        size = self._writer.finish()
        self._patch()
        self._file.close()
        return size

    def abandon(self) -> None:
        """Close the file as it is: writing to it failed."""
        self._file.close()

    def _patch(self) -> None:
        self._patched_at = self.end_ms
        used = encode_used(self._fields, self._places, duration_ms=self.duration_ms, file_size=self._writer.position)
        self._writer.overwrite(_PAYLOAD_POSITION, used + bytes(max(0, self._patched_used - len(used))))
        self._patched_used = len(used)
        if self._flags != self._patched_flags:
            self._writer.overwrite(0, encode_header(FlvHeader(flags=self._flags)))
            self._patched_flags = self._flags

    @property
    def _places(self) -> KeyframeIndex:
        return self._index if self.has_video else self._audio_index

    @staticmethod
    def _header_flags(tags: Sequence[Tag]) -> int:
        types = {tag.type for tag in tags}
        return (4 if AUDIO in types else 0) | (1 if VIDEO in types else 0)

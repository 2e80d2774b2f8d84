"""One file: its metadata stays readable and true at every moment."""

from __future__ import annotations

from media.flv.metadata import read_metadata
from media.flv.segment_file import PATCH_INTERVAL_MS, SegmentFile
from media.flv.tag import VIDEO, FlvHeader, Tag

from libs.media.tests import flv_streams as flv


def fields_of(content: bytes) -> dict:
    fields = read_metadata(flv.scripts(content)[0].payload)
    assert fields is not None
    return fields


def test_the_index_on_disk_is_readable_and_covers_the_file_while_its_room_is_thinned():
    file = flv.MemoryFile()
    segment = SegmentFile(file, start_ms=0, headers=[], fields={}, room=4)
    thinned = entries = 0
    for n in range(30):
        segment.write(flv.gop(n * 2000, n))
        if n * 2000 < PATCH_INTERVAL_MS:
            continue
        fields = fields_of(file.getvalue())
        keyframes = fields["keyframes"]
        room = [len(keyframes[name]) for name in ("times", "filepositions", "spacer")]
        thinned += room[0] < entries
        entries = room[0]
        assert sum(room) == 8
        assert not any(keyframes["spacer"])
        assert n * 2 - fields["duration"] <= PATCH_INTERVAL_MS / 1000
    assert thinned
    segment.close()
    assert fields_of(file.content)["filesize"] == len(file.content)


def test_the_file_header_names_the_channels_that_came():
    # Given a file that began with audio only
    file = flv.MemoryFile()
    segment = SegmentFile(file, start_ms=0, headers=[], fields={}, room=4)
    segment.write([flv.audio(0, 1)])
    assert not segment.has_video
    # When video of a codec without sequence header follows
    segment.write([Tag.of(VIDEO, 20, b"\x12\x00\x00")])
    segment.close()
    # Then the header says both
    assert flv.parse(file.content)[0] == FlvHeader(flags=5)


def test_headers_and_an_end_marker_stand_at_the_times_of_their_media():
    file = flv.MemoryFile()
    segment = SegmentFile(file, start_ms=7000, headers=[flv.avc_header(3)], fields={}, room=4)
    segment.write([flv.video(7000, 1, key=True), flv.video(7040, 2)])
    segment.write_end_marker(flv.avc_end(0))
    assert segment.size == segment.close()
    assert [tag.timestamp for tag in flv.parse(file.content)[1:]] == [0, 0, 0, 40, 40]
    assert (segment.duration_ms, segment.keyframes, segment.media_tags) == (40, 1, 2)

"""HLS as pure code: playlists, planning, reordering, recording. Text and bytes in, plans and bytes out.

The way of one segment: ``parse_playlist`` → ``HlsPlanner.update`` → (the caller downloads, ``decrypt_aes128``) →
``Assembler.completed`` → ``HlsRecorder.write`` → files and segment events.
"""

from media.fmp4 import recover_mp4
from media.hls.assembler import Assembler, AssemblerOptions, GapPolicy
from media.hls.crypto import DecryptionError, decrypt_aes128
from media.hls.identity import DEFAULT_VOLATILE_QUERY
from media.hls.items import Discontinuity, Init, Media, MissingMedia, StreamItem
from media.hls.parser import decode_playlist, parse_playlist
from media.hls.planner import HlsPlanner, PlannerOptions, PlaylistRequest
from media.hls.playlist import (
    ByteRange,
    DateRange,
    KeyTag,
    MapTag,
    MasterPlaylist,
    MediaPlaylist,
    Part,
    PlaylistError,
    PlaylistLimits,
    PreloadHint,
    Rendition,
    Segment,
    ServerControl,
    UnsupportedPlaylistError,
    Variant,
)
from media.hls.recorder import HlsRecorder
from media.hls.tasks import GapTask, InitSection, KeyRef, PlanCursor, PlanItem, SegmentTask
from media.hls.variants import VariantKind, VariantPolicy, audio_rendition, choose_variant
from media.mpegts import recover_ts
from media.segments import Gap, GapReason, Limits, Recovered, SegmentCompleted, SegmentOpened, SplitReason

__all__ = [
    "DEFAULT_VOLATILE_QUERY",
    "Assembler",
    "AssemblerOptions",
    "ByteRange",
    "DateRange",
    "DecryptionError",
    "Discontinuity",
    "Gap",
    "GapPolicy",
    "GapReason",
    "GapTask",
    "HlsPlanner",
    "HlsRecorder",
    "Init",
    "InitSection",
    "KeyRef",
    "KeyTag",
    "Limits",
    "MapTag",
    "MasterPlaylist",
    "Media",
    "MediaPlaylist",
    "MissingMedia",
    "Part",
    "PlanCursor",
    "PlanItem",
    "PlannerOptions",
    "PlaylistError",
    "PlaylistLimits",
    "PlaylistRequest",
    "PreloadHint",
    "Recovered",
    "Rendition",
    "Segment",
    "SegmentCompleted",
    "SegmentOpened",
    "SegmentTask",
    "ServerControl",
    "SplitReason",
    "StreamItem",
    "UnsupportedPlaylistError",
    "Variant",
    "VariantKind",
    "VariantPolicy",
    "audio_rendition",
    "choose_variant",
    "decode_playlist",
    "decrypt_aes128",
    "parse_playlist",
    "recover_mp4",
    "recover_ts",
]

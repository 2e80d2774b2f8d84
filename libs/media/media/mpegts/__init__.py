"""MPEG transport streams (ISO/IEC 13818-1) as far as a recorder needs them: packets, tables, timestamps, key frames."""

from media.mpegts.damage import lacks_packets
from media.mpegts.packets import PACKET_BYTES, aligned, find_sync
from media.mpegts.pes import CLOCK_HZ, TIMESTAMP_MODULUS, unwrap
from media.mpegts.psi import Program, Stream
from media.mpegts.recover import recover_ts
from media.mpegts.scan import TsScan, mark_of, scan_ts

__all__ = [
    "CLOCK_HZ",
    "PACKET_BYTES",
    "TIMESTAMP_MODULUS",
    "Program",
    "Stream",
    "TsScan",
    "aligned",
    "find_sync",
    "lacks_packets",
    "mark_of",
    "recover_ts",
    "scan_ts",
    "unwrap",
]

"""The FLV repair chain: small operators that turn what servers send into files that play, each repair recorded as data."""

from media.repair.model import Repair, RepairKind, RepairLog, RepairOptions

__all__ = ["Repair", "RepairKind", "RepairLog", "RepairOptions"]

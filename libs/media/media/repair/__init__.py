"""The FLV repair chain: small operators that turn what servers send into files that play, each repair recorded as data."""

from media.repair.log import RepairLog
from media.repair.model import Repair, RepairKind, RepairOptions

__all__ = ["Repair", "RepairKind", "RepairLog", "RepairOptions"]

"""The garbage collector of a process that makes tens of thousands of short-lived objects a second, none of them in a cycle."""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 20_000
"""So many more objects than were freed start a collection (Python's own figure is 700): with that many messages in hand at any time
the collector finds nothing, again and again, at a tenth of the processor time. What a cycle holds lives some seconds longer."""
OLDER: Final = 20


def settle() -> None:
    """Leave what was imported alone from now on, and look for cycles less often. Call once everything that stays is there."""
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, OLDER)

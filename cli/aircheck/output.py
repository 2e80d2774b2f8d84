"""How the command line prints: as wide as the terminal, and never cut when somebody else reads it."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

_WIDE = 400
"""Columns for pipes and files: wide enough that no id or address is folded."""

console = Console(width=None if sys.stdout.isatty() else _WIDE)


def table(*names: str) -> Table:
    """A table whose cells are folded, not cut, so that ids and addresses can be copied."""
    made = Table(box=None if not sys.stdout.isatty() else Table().box, pad_edge=False)
    for name in names:
        made.add_column(name, overflow="fold")
    return made

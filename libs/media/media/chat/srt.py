"""Chat as subtitles: SubRip, one cue per message, ``user: text``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from media.chat.captions import PAID, SPOKEN, caption
from media.chat.timing import Timed

CUE_S: Final = 5.0


def srt_lines(messages: Iterable[Timed], *, cue_s: float = CUE_S, gifts: bool = False) -> Iterator[str]:
    """The cues of a whole file in order of time, each with its blank line. All messages are held in memory to be sorted."""
    shown = SPOKEN | PAID if gifts else SPOKEN
    number = 0
    for offset, message in sorted(messages, key=lambda timed: timed.offset_ms):
        if message.kind in shown and (text := caption(message).strip()):
            number += 1
            # A cue that looks like the next cue's time line would be taken for one.
            yield f"{number}\n{_clock(offset)} --> {_clock(offset + round(cue_s * 1000))}\n{text.replace('-->', '→')}\n\n"


def _clock(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d},{rest:03d}"

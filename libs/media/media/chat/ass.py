"""Chat drawn over the video: Advanced SubStation Alpha, for every player that shows subtitles.

A message appears at its own time, always. Where every lane is taken it shares the one that frees up first: two lines that touch are
better than a line at a false time. Tags used are those of the ASS v4+ specification: ``\\move``, ``\\pos``, ``\\an``, ``\\c``, ``\\3c``, ``\\fs``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from media.chat.captions import PAID, SPOKEN, caption, one_line
from media.chat.message import WHITE, ChatMessage, MessageKind
from media.chat.timing import Timed

SCROLLING, BOTTOM, TOP = 1, 4, 5
"""Modes of Bilibili's players; what is none of them scrolls."""
NORMAL_SIZE: Final = 25
MAX_SIZE: Final = 100
_DARK: Final = 0x40
"""A colour without a channel above this is outlined in white: on its black outline nobody could read it."""
_BREAKS_TAGS: Final = re.compile(r"[\\{}]")
_SPELLED: Final = {"{": "｛", "}": "｝", "\\": "＼"}


@dataclass(frozen=True, slots=True)
class AssOptions:
    """How chat looks. Sizes in pixels of the stated resolution, times in seconds, shares from 0 to 1.

    `area`: the part of the height, from the top, that chat may cover. `gifts`: show gifts and memberships too, at the bottom.
    """

    width: int = 1920
    height: int = 1080
    font: str = "sans-serif"
    font_size: int = 42
    scroll_s: float = 12.0
    fixed_s: float = 5.0
    opacity: float = 0.8
    area: float = 1.0
    gifts: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError naming what cannot be drawn."""
        if not (16 <= self.width <= 16384 and 16 <= self.height <= 16384):
            raise ValueError("the resolution must lie between 16x16 and 16384x16384")
        if not 1 <= self.font_size <= self.height // 2:
            raise ValueError("the font size must lie between 1 and half the height")
        if not (0.5 <= self.scroll_s <= 600 and 0.5 <= self.fixed_s <= 600):
            raise ValueError("durations must lie between 0.5 and 600 seconds")
        if not (0 < self.opacity <= 1 and 0 < self.area <= 1):
            raise ValueError("opacity and area must be above 0 and at most 1")
        if not self.font or any(character in self.font for character in ",\r\n"):
            raise ValueError("the name of the font must not be empty or contain a comma or a line end")


def ass_lines(messages: Iterable[Timed], options: AssOptions | None = None, title: str = "") -> Iterator[str]:
    """The lines of a whole file, with their line ends. All messages are held in memory, to be put in order of time."""
    chosen = options or AssOptions()
    yield _head(chosen, one_line(title))
    yield from _Stage(chosen).draw(sorted(messages, key=_by_time))


def _by_time(timed: Timed) -> int:
    return timed.offset_ms


class _Stage:
    """The lanes of one screen. Positions are in pixels, times in milliseconds."""

    def __init__(self, options: AssOptions) -> None:
        self._options = options
        self._line_height = options.font_size + max(options.font_size // 8, 1)
        lanes = max(int(options.height * options.area) // self._line_height, 1)
        self._scroll_ms, self._fixed_ms = round(options.scroll_s * 1000), round(options.fixed_s * 1000)
        # Of each scrolling lane: when its last line has entered whole, and when it has left.
        self._entered, self._left = [0.0] * lanes, [0.0] * lanes
        self._top, self._bottom = [0.0] * lanes, [0.0] * lanes

    def draw(self, messages: Iterable[Timed]) -> Iterator[str]:
        for offset, message in messages:
            if message.kind is MessageKind.CHAT:
                text = message.text
                if not text:
                    continue
                # The common case without a call for each step: visible ASCII or CJK without a brace.
                if not text.isprintable():
                    text = one_line(text)
                yield self._comment(offset, message, text)
            elif message.kind in SPOKEN:
                yield self._fixed(offset, 2 * self._fixed_ms, caption(message), message, True)
            elif message.kind in PAID and self._options.gifts:
                yield self._fixed(offset, self._fixed_ms, caption(message), message, False)

    def _comment(self, offset: int, message: ChatMessage, text: str) -> str:
        if message.mode in (TOP, BOTTOM):
            return self._fixed(offset, self._fixed_ms, text, message, message.mode == TOP)
        size = self._size(message)
        # Wide characters are as wide as the font is high, ASCII about half of that.
        half = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
        width = int((len(text) - half / 2) * size) + 1
        screen, duration = self._options.width, self._scroll_ms
        y = self._lane(offset, width) * self._line_height
        return (
            f"Dialogue: 0,{_clock(offset)},{_clock(offset + duration)},chat,,0,0,0,,"
            f"{{\\move({screen},{y},{-width},{y}){self._look(message, size)}}}{_safe(text)}\n"
        )

    def _lane(self, offset: int, width: int) -> int:
        screen, duration = self._options.width, self._scroll_ms
        path = screen + width
        reaches_edge = offset + duration * screen / path
        entered, left = self._entered, self._left
        best = 0
        for lane, free in enumerate(entered):
            if free <= offset and left[lane] <= reaches_edge:
                best = lane
                break
            if free < entered[best]:
                best = lane
        entered[best] = offset + duration * width / path
        left[best] = offset + duration
        return best

    def _fixed(self, offset: int, duration: int, text: str, message: ChatMessage, top: bool) -> str:
        lanes = self._top if top else self._bottom
        lane = next((number for number, until in enumerate(lanes) if until <= offset), None)
        if lane is None:
            lane = lanes.index(min(lanes))
        lanes[lane] = offset + duration
        below = lane * self._line_height
        y = below if top else self._options.height - below
        size = self._size(message)
        return (
            f"Dialogue: 1,{_clock(offset)},{_clock(offset + duration)},chat,,0,0,0,,"
            f"{{\\an{8 if top else 2}\\pos({self._options.width // 2},{y}){self._look(message, size)}}}{_safe(text)}\n"
        )

    def _size(self, message: ChatMessage) -> int:
        if message.size == NORMAL_SIZE:
            return self._options.font_size
        return max(self._options.font_size * min(max(message.size, 8), MAX_SIZE) // NORMAL_SIZE, 1)

    def _look(self, message: ChatMessage, size: int) -> str:
        look = "" if message.size == NORMAL_SIZE else f"\\fs{size}"
        if message.colour == WHITE:
            return look
        red, green, blue = message.colour >> 16 & 0xFF, message.colour >> 8 & 0xFF, message.colour & 0xFF
        outline = "\\3c&HFFFFFF&" if max(red, green, blue) < _DARK else ""
        return f"{look}\\c&H{blue:02X}{green:02X}{red:02X}&{outline}"


def _safe(text: str) -> str:
    """Braces would begin a tag and a backslash an escape; neither can be written in a way all renderers understand."""
    if "\\" in text or "{" in text or "}" in text:
        return _BREAKS_TAGS.sub(lambda match: _SPELLED[match[0]], text)
    return text


def _clock(ms: int) -> str:
    seconds, rest = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}.{rest // 10:02d}"


def _head(options: AssOptions, title: str) -> str:
    alpha = f"{round(255 * (1 - options.opacity)):02X}"
    return (
        f"[Script Info]\nTitle: {title}\nScriptType: v4.00+\nPlayResX: {options.width}\nPlayResY: {options.height}\n"
        "WrapStyle: 2\nScaledBorderAndShadow: yes\n\n[V4+ Styles]\n"
        "Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, "
        "StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding\n"
        f"Style: chat,{options.font},{options.font_size},&H{alpha}FFFFFF,&H{alpha}FFFFFF,&H{alpha}000000,&H{alpha}000000,"
        "0,0,0,0,100,100,0,0,1,1.5,0,7,0,0,0,1\n\n[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    )

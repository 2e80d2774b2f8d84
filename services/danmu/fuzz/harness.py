"""Runs a codec against mutated frames: nothing may be raised, and each message must survive its line in the log."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.messages import decode_line, encode_line

SEPARATOR = b"\xff\xfe"
"""Between the frames of one connection; valid in none of the text protocols, rare in the binary ones."""


def check(frames: Sequence[bytes], feed: Callable[[bytes], Decoded]) -> None:
    """Feed the frames of one connection."""
    for frame in frames:
        for message in feed(frame).messages:
            if decode_line(encode_line(message)) != message:
                raise AssertionError(f"changed by the log: {message}")


@contextmanager
def seeds_in(seeds: Sequence[bytes]) -> Iterator[str]:
    """A folder with one file for each seed, as libFuzzer wants them."""
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds):
            Path(folder, f"seed-{number}").write_bytes(seed)
        yield folder


def run(connect: Callable[[], Callable[[bytes], Decoded]], seeds: Sequence[bytes]) -> None:
    """Fuzz until libFuzzer's arguments (``-runs=``, ``-max_total_time=``) say stop; `connect` makes a codec's `feed`."""
    import atheris  # type: ignore[import-untyped]  # here, as it exists only where LLVM's runtime does

    def test_one(data: bytes) -> None:
        check(data.split(SEPARATOR, 16), connect())

    with seeds_in(seeds) as folder:
        atheris.instrument_all()
        atheris.Setup([*sys.argv, folder], test_one)
        atheris.Fuzz()

"""`python -m tests.studio`: the studio as a process."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence

from . import Studio

_EPILOG = """\
examples:
  python -m tests.studio --demo
      room 1001 on air with a chatting audience; watch http://127.0.0.1:PORT/live/1001.flv
  python -m tests.studio --port 7900 --on-air 1001 --on-air 1002
  curl -X POST http://127.0.0.1:7900/api/rooms/1003/on-air -d '{"title": "Hello", "fps": 30}'
  curl -X POST http://127.0.0.1:7900/api/rooms/1003/chat -d '{"user": "ann", "text": "hi"}'
  curl -X POST http://127.0.0.1:7900/api/rooms/1003/faults -d '{"kind": "drop"}'
  curl -X POST http://127.0.0.1:7900/api/rooms/1003/off-air
All routes, options and faults: tests/studio/README.md
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.studio",
        description="A local live platform that speaks real protocols: HTTP-FLV, HLS, Bilibili's API and chat.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one (default)")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (default: the loopback)")
    parser.add_argument("--json", action="store_true", help='print one line {"url": ..., "pid": ...} when ready')
    parser.add_argument("--on-air", action="append", default=[], metavar="ROOM", help="put this room on air at once")
    parser.add_argument("--demo", action="store_true", help="put room 1001 on air with two chat messages a second")
    parser.add_argument("--until-stdin-closes", action="store_true", help="also stop when standard input ends")
    return parser


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Studio(arguments.port, host=arguments.host) as studio:
        if arguments.demo:
            await studio.put_on_air("1001", "Aircheck demo", streamer="Studio One", chat_per_second=2)
        for room in arguments.on_air:
            await studio.put_on_air(room)
        ready = {"url": studio.url, "pid": os.getpid()}
        print(json.dumps(ready) if arguments.json else f"studio is ready at {studio.url}", flush=True)
        if arguments.until_stdin_closes:
            loop.add_reader(sys.stdin, _read_until_closed, loop, stop)
        await stop.wait()


def _read_until_closed(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin)
        stop.set()


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGINT, SIGTERM or, when asked, the end of standard input."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(_serve(arguments))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

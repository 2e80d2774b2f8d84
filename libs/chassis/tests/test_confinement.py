"""What a confined process may do; in a process of its own, because a hook is for ever."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.deadline import DEADLINE_S

PROGRAM = """
import json, os, socket, subprocess, sys
from chassis.confinement import confine
from chassis.egress import EgressPolicy
confine(EgressPolicy(allowed_networks=("127.0.0.1/32",)), programs={"/bin/true"})
said = []
for deed in json.load(sys.stdin):
    try:
        exec(deed)
    except Exception as error:
        said.append(type(error).__name__)
    else:
        said.append("")
print(json.dumps(said))
"""
DEEDS = {
    "socket.create_connection(('127.0.0.1', 1), 1)": "ConnectionRefusedError",
    # as a library binds that connects with one address family only
    "socket.create_connection(('127.0.0.1', 1), 1, ('0.0.0.0', 0))": "ConnectionRefusedError",
    "socket.create_connection(('127.0.0.2', 1), 1, ('0.0.0.0', 0))": "RefusedAddress",
    "socket.create_connection(('127.0.0.2', 1), 1)": "RefusedAddress",
    "socket.socket().connect_ex(('127.0.0.2', 1))": "RefusedAddress",
    "socket.socket().bind(('0.0.0.0', 8000))": "RefusedAddress",
    "socket.socket().bind(('127.0.0.1', 0))": "RefusedAddress",
    "socket.socket(socket.AF_UNIX).connect('/run/x')": "RefusedAddress",
    "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.2', 53))": "RefusedAddress",
    "subprocess.run(['/bin/true'])": "",
    "subprocess.run(['/bin/sh', '-c', 'true'])": "PermissionError",
    "os.system('true')": "PermissionError",
    "os.execv('/bin/sh', ['sh'])": "PermissionError",
}


def test_a_confined_process_reaches_and_starts_only_what_it_may() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(list(DEEDS)),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert dict(zip(DEEDS, json.loads(ended.stdout), strict=True)) == DEEDS

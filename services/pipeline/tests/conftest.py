"""What the processor tests share: a small real video, and a workspace whose receipts are kept in memory."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest
from chassis.storage import StorageOptions
from contracts.values import Artifact

from services.pipeline.adapters.ffmpeg import Ffmpeg, locate
from services.pipeline.adapters.files import Files, media_type_of
from services.pipeline.adapters.workspace import Workspace

SECONDS = 3.0


def encode(path: Path, *options: str, seconds: float = SECONDS) -> Path:
    """A test card with a tone, as small as it gets."""
    source = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=128x72:rate=10",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=44100",
    ]
    video = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "32k"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", *source, "-t", str(seconds), *video]
    subprocess.run([*command, *options, "-y", str(path)], check=True, timeout=60)
    return path


def artifact_of(path: Path) -> Artifact:
    content = path.read_bytes()
    return Artifact(
        uri=path.as_uri(),
        media_type=media_type_of(path.name),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


class MemoryReceipts:
    """Receipts as a dictionary. ``crash_after``: raise after so many were saved, as a process that dies before it publishes."""

    def __init__(self, known=None, *, crash_after=None):
        self.known, self.saved, self._left = dict(known or {}), {}, crash_after

    async def save(self, slot, artifact):
        self.saved[slot] = artifact
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                raise Crash


class Crash(BaseException):
    """The process is gone: nothing in the code under test may catch this."""


@pytest.fixture
def ffmpeg():
    return Ffmpeg(locate(""), niceness=5)


@pytest.fixture(scope="session")
def flv(tmp_path_factory):
    """Three seconds of H.264 and AAC; copy it before a test changes it."""
    return encode(tmp_path_factory.mktemp("media") / "tiny.flv")


@pytest.fixture
def recording(flv, tmp_path):
    """The video as a recorder leaves it: in a folder of its own, with a name people choose."""
    path = tmp_path / "Ada" / "2026-01-02" / "03-04-05 it's 100% #1.flv"
    path.parent.mkdir(parents=True)
    path.write_bytes(flv.read_bytes())
    return artifact_of(path)


@pytest.fixture
def make_workspace(tmp_path):
    """Workspaces of successive turns of one job: ``make_workspace(receipts, epoch=2)``."""
    reported = []

    async def report(fraction):
        reported.append(fraction)

    def make(receipts=None, *, epoch=1, storage_uri="", job_id="job"):
        workspace = Workspace(
            tmp_path / "work",
            Files(StorageOptions(), storage_uri=storage_uri),
            receipts or MemoryReceipts(),
            job_id=job_id,
            session_id="s1",
            epoch=epoch,
            report=report,
        )
        workspace._make_folder()
        workspace.reported = reported
        return workspace

    return make

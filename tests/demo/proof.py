"""What came out, checked by code that is not ours: PyAV decodes the files, expat reads the XML, hashlib and hmac check the rest."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as ET

import av

from tests.demo.broadcast import ROOM, SINK, Broadcast

TOLERANCE_S = 1.0


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    subject: str
    passed: bool
    detail: str


async def findings(broadcast: Broadcast) -> list[Finding]:
    """Everything the demo promises."""
    found = [*_recordings(broadcast), *_outputs(broadcast), *_uploads(broadcast)]
    found.append(await _chat(broadcast))
    found.append(await _webhook(broadcast))
    found.append(_manifest(broadcast))
    return found


def path_of(uri: str) -> Path:
    """The path of a ``file://`` address."""
    return Path(unquote(urlsplit(uri).path))


def playable(path: Path) -> tuple[float, int]:
    """Decode every frame; (duration in seconds by the video's timestamps, frames). Raises av.error.FFmpegError when it is damaged."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        first = last = None
        frames = 0
        for frame in container.decode(stream):
            first = frame.time if first is None else first
            last = frame.time
            frames += 1
    if first is None or last is None:
        return 0.0, 0
    return last - first + float(1 / (stream.average_rate or 25)), frames


def _recordings(broadcast: Broadcast) -> Iterator[Finding]:
    total = 0.0
    segments = broadcast.of("downloader.recording.segment_completed.v1")
    for segment in segments:
        path = path_of(segment["artifact"]["uri"])
        yield _plays(f"segment {segment['index']}", path, segment["duration_ms"] / 1000)
        total += segment["duration_ms"] / 1000
    # What the sender says, not the clock: an encoder on a busy machine falls behind it.
    shown = broadcast.shown_ms
    expected = (max(last for _, last in shown) - min(first for first, _ in shown)) / 1000 if shown else 0.0
    yield Finding(
        "whole broadcast",
        len(segments) >= 2 and abs(total - expected) <= TOLERANCE_S,
        f"{total:.1f} s in {len(segments)} files; the studio sent {expected:.1f} s (a viewer starts at the last keyframe)",
    )


def _outputs(broadcast: Broadcast) -> Iterator[Finding]:
    durations = {
        one["index"]: one["duration_ms"] / 1000 for one in broadcast.of("downloader.recording.segment_completed.v1")
    }
    runs = {one["run_id"]: one["index"] for one in broadcast.of("pipeline.run.planned.v1")}
    jobs = broadcast.of("pipeline.run.job_completed.v1")
    for job in jobs:
        for output in job["outputs"]:
            path = path_of(output["uri"])
            if job["step_id"] == "remux":
                yield _plays(f"mp4 {runs[job['run_id']]}", path, durations[runs[job["run_id"]]])
            elif job["step_id"] == "thumbnail" and path.suffix in (".jpg", ".jpeg"):
                width, frames = _picture(path)
                yield Finding(
                    f"thumbnail {runs[job['run_id']]}", frames == 1 and width > 0, f"{path.name}, {width} pixels wide"
                )
    done = sum(one["step_id"] == "thumbnail" for one in jobs)
    yield Finding("every segment processed", done == len(durations) > 0, f"{done} of {len(durations)}")


def _uploads(broadcast: Broadcast) -> Iterator[Finding]:
    uploads = broadcast.of("uploader.upload.completed.v1")
    for upload in uploads:
        path = path_of(upload["artifact"]["uri"])
        same = path.is_relative_to(broadcast.bucket) and _sha256(path) == upload["artifact"]["sha256"]
        yield Finding(
            f"upload {path.name}",
            same,
            f"{upload['artifact']['size']} bytes, checksum {'matches' if same else 'differs'}",
        )
    segments = broadcast.of("downloader.recording.segment_completed.v1")
    yield Finding("every mp4 uploaded", len(uploads) == len(segments) > 0, f"{len(uploads)} of {len(segments)}")


async def _chat(broadcast: Broadcast) -> Finding:
    sent = [entry["text"] for entry in await broadcast.studio.chat_log(ROOM) if entry["kind"] == "chat"]
    kept: list[str] = []
    for file in broadcast.of("danmu.chat.file_completed.v1"):
        root = ET.parse(path_of(file["xml"]["uri"])).getroot()
        kept += [line.text or "" for line in root.iter("d")]
    return Finding("chat", sorted(sent) == sorted(kept) and bool(sent), f"{len(kept)} of {len(sent)} lines in the XML")


async def _webhook(broadcast: Broadcast) -> Finding:
    requests = await broadcast.studio.wait_for_sink(SINK)
    key = base64.b64decode(broadcast.webhook_secret.removeprefix("whsec_"))
    wanted = "aircheck.pipeline.session.finished.v1"
    for request in requests:
        signed = f"{request['headers']['webhook-id']}.{request['headers']['webhook-timestamp']}.{request['body']}"
        expected = "v1," + base64.b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).decode()
        if expected not in request["headers"]["webhook-signature"].split():
            return Finding("webhook", False, f"the signature of {request['headers']['webhook-id']} is wrong")
    kinds = [json.loads(request["body"])["type"] for request in requests]
    return Finding(
        "webhook",
        wanted in kinds,
        f"{len(kinds)} signed messages, session.finished {'among them' if wanted in kinds else 'missing'}",
    )


def _manifest(broadcast: Broadcast) -> Finding:
    (finished,) = broadcast.of("pipeline.session.finished.v1")
    missing = [one["uri"] for one in finished["manifest"] if not path_of(one["uri"]).is_file()]
    recorded = {one["artifact"]["uri"] for one in broadcast.of("downloader.recording.segment_completed.v1")}
    listed = {one["uri"] for one in finished["manifest"]}
    complete = not missing and recorded <= listed and finished["failed_runs"] == 0
    return Finding("manifest", complete, f"{len(listed)} files listed, {len(missing)} missing")


def _plays(subject: str, path: Path, expected_s: float) -> Finding:
    try:
        seconds, frames = playable(path)
    except (OSError, av.error.FFmpegError, IndexError) as error:
        return Finding(subject, False, f"{path.name}: {error}")
    good = frames > 0 and abs(seconds - expected_s) <= TOLERANCE_S
    return Finding(subject, good, f"{path.name}: {seconds:.2f} s, {frames} frames (said {expected_s:.2f} s)")


def _picture(path: Path) -> tuple[int, int]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return (frames[0].width if frames else 0), len(frames)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


__all__ = ["Finding", "findings", "path_of", "playable"]

"""What the uploader reacts to."""

from __future__ import annotations

from chassis.handlers import Handlers
from chassis.work import Work
from contracts.aggregate import Rejected
from contracts.uploader import CancelUpload, StartUpload

from services.uploader import domain, store
from services.uploader.adapters.object_store import ObjectStores
from services.uploader.domain import KIND, UPLOAD


async def start_upload(command: StartUpload, work: Work) -> None:
    """Accept an upload and offer it to all replicas."""
    if not work.resource(ObjectStores).accepts(command.destination):
        raise Rejected("Bad destination", status=422, detail="write s3://bucket/key or file:///folder/name")
    at = await work.load(UPLOAD, command.upload_id)
    events = domain.decide_request(at.state, command)
    await work.append(at, events)
    if events:
        await store.add(work.connection, command.upload_id)
        await work.offer(KIND, f"{KIND}:{command.upload_id}")


async def cancel_upload(command: CancelUpload, work: Work) -> None:
    """Give an upload up; whoever runs it sees that and cleans up."""
    at = await work.load(UPLOAD, command.upload_id)
    await work.append(at, domain.decide_cancel(at.state, command.upload_id))


def handlers() -> Handlers:
    """The registry of this service."""
    registry = Handlers("uploader")
    registry.command(StartUpload)(start_upload)
    registry.command(CancelUpload)(cancel_upload)
    return registry

import pytest
from contracts.aggregate import Rejected
from contracts.uploader import (
    StartUpload,
    UploadCancelled,
    UploadCompleted,
    UploadFailed,
    UploadRequested,
    UploadStarted,
)
from contracts.values import Artifact

from services.uploader.domain import (
    UPLOAD,
    Upload,
    decide_cancel,
    decide_completed,
    decide_failed,
    decide_request,
    decide_started,
)

FILE = Artifact(uri="file:///r/a.mp4", media_type="video/mp4", size=10)
COMMAND = StartUpload(upload_id="u", session_id="s", source=FILE, destination="s3://b/a.mp4")


def given(*events):
    return UPLOAD.fold(events)


def requested():
    return given(*decide_request(Upload(), COMMAND))


def test_a_request_is_accepted_once():
    (event,) = decide_request(Upload(), COMMAND)
    assert isinstance(event, UploadRequested)
    assert decide_request(requested(), COMMAND) == []


def test_an_id_cannot_be_used_for_another_file():
    with pytest.raises(Rejected, match="exists"):
        decide_request(requested(), COMMAND.model_copy(update={"destination": "s3://b/other"}))


def test_every_owner_says_where_it_goes_on():
    (event,) = decide_started(requested(), worker="w", epoch=2, resumed_at=5)
    assert isinstance(event, UploadStarted) and (event.epoch, event.resumed_at) == (2, 5)


@pytest.mark.parametrize(
    "end",
    [
        UploadCompleted(upload_id="u", session_id="s", artifact=FILE, seconds=1),
        UploadFailed(upload_id="u", session_id="s", error="x", attempts=1),
        UploadCancelled(upload_id="u", session_id="s"),
    ],
)
def test_nothing_follows_the_end(end):
    state = UPLOAD.fold([end], requested())
    assert decide_started(state, worker="w", epoch=1, resumed_at=0) == []
    assert decide_completed(state, FILE, 1) == []
    assert decide_failed(state, "x", 1) == []
    with pytest.raises(Rejected, match="over"):
        decide_cancel(state, "u")


def test_cancelling_what_nobody_requested_is_404():
    with pytest.raises(Rejected) as refusal:
        decide_cancel(Upload(), "u")
    assert refusal.value.problem.status == 404

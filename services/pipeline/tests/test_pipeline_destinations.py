"""Where copies and uploads go: below the base a person chose, whatever a title says."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from contracts.processors import BadDestination, check_destination
from contracts.values import Artifact, Step
from hypothesis import given, settings
from hypothesis import strategies as st

from services.pipeline.domain import SESSION
from services.pipeline.domain.destinations import (
    Context,
    context_of,
    folder_of,
    name_of,
    names_of,
    numbered,
    upload_targets,
)

ADA = Context("s1", streamer="Ada", title="a/b: ..", platform="direct", date="2026-01-02", upload_to="s3://bucket/rec/")


def file(uri):
    return Artifact(uri=uri, media_type="video/mp4", size=1)


def upload(**options):
    return Step(id="up", processor="upload", options=options)


def test_an_upload_goes_below_the_streamers_base_by_streamer_and_session():
    targets = upload_targets(upload(), (file("file:///v/x%20y.mp4"), file("s3://in/x%20y.jpg")), ADA)
    assert targets == ("s3://bucket/rec/Ada/s1/x%20y.mp4", "s3://bucket/rec/Ada/s1/x%20y.jpg")


def test_a_step_may_choose_another_base_and_folder():
    step = upload(to="file:///nas", folder="{date}/{title}")
    assert upload_targets(step, (file("file:///v/x.mp4"),), ADA) == ("file:///nas/2026-01-02/a_b_/x.mp4",)


def test_files_of_the_same_name_do_not_meet():
    assert names_of((file("file:///a/x.mp4"), file("file:///b/X.mp4"), file("file:///c/x.mp4"))) == [
        "x.mp4",
        "X.2.mp4",
        "x.3.mp4",
    ]


@pytest.mark.parametrize(
    ("step", "inputs", "context", "says"),
    [
        (upload(), 1, Context("s"), "no destination"),
        (upload(), 0, ADA, "nothing to upload"),
        (upload(too="s3://x"), 1, ADA, "options"),
        (upload(folder="{secret}"), 1, ADA, "unknown field"),
        (upload(folder=" / "), 1, ADA, "empty"),
        (upload(to="https://x/y"), 1, ADA, "s3://"),
    ],
)
def test_what_cannot_be_uploaded_is_refused(step, inputs, context, says):
    with pytest.raises(BadDestination, match=says):
        upload_targets(step, tuple(file(f"file:///v/{n}.mp4") for n in range(inputs)), context)


@pytest.mark.parametrize(
    "base",
    [
        "http://host/x",
        "file:relative",
        "file://host/share",
        "s3:///nobucket",
        "s3://key:secret@bucket",
        "s3://bucket/x?versionId=1",
        "file:///a/../etc",
        "file:///a/%2e%2e/etc",
        "s3://bucket/a\n",
        "s3://bucket/%0a",
        "",
    ],
)
def test_bases_that_are_no_folder_of_a_store_are_refused(base):
    with pytest.raises(BadDestination):
        check_destination(base)


anything = st.text(st.characters(codec="utf-8"), max_size=80)


@settings(deadline=None)
@given(anything, anything, anything)
def test_no_name_of_a_broadcast_leads_out_of_the_base(streamer, title, name):
    context = Context("s1", streamer=streamer, title=title, date="2026-01-02", upload_to="file:///nas")
    targets = upload_targets(upload(folder="{streamer}/{title}"), (file(f"file:///v/{name}"),), context)
    parts = unquote(targets[0]).removeprefix("file:///nas/").split("/")
    assert len(parts) == 3 and not {"", ".", ".."} & set(parts)
    assert all(len(part.encode()) <= 255 for part in parts)


@settings(deadline=None)
@given(anything, st.integers(2, 999))
def test_a_number_keeps_a_name_usable(text, number):
    name = numbered(name_of(f"file:///v/{text}"), number)
    assert name and "/" not in name and len(name.encode()) <= 255 and str(number) in name


def test_the_context_of_an_unknown_session_is_its_id():
    assert context_of("s", SESSION.initial) == Context("s")
    assert folder_of("{streamer}/{session_id}", Context("s")) == "unnamed/s"

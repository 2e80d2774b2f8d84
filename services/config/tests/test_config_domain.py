import pytest
from chassis import eventlog
from chassis.egress import EgressPolicy
from contracts.aggregate import Rejected
from contracts.config import (
    AddStreamer,
    ChangeStreamer,
    LayerSaved,
    RemoveStreamer,
    SaveCredential,
    SaveLayer,
    Secrets,
    StartStreamer,
    StopStreamer,
    StreamerAdded,
)
from contracts.values import Filters, Layer, Network, Pipelines, Step, TimeWindow

from services.config.domain import (
    LAYER,
    STREAMER,
    SharedLayer,
    Streamer,
    decide_add,
    decide_change,
    decide_enabled,
    decide_remove,
    decide_remove_layer,
    decide_save_credential,
    decide_save_layer,
    platform_of,
    resolve,
    url_key,
)
from services.config.handlers import _check_address
from services.config.layers import MAX_LAYER

ADD = AddStreamer(streamer_id="a", url="https://live.bilibili.com/42", layer=Layer(quality="best"))


def given(*events):
    return STREAMER.fold(events)


def added(**changes):
    return given(*decide_add(Streamer(), ADD.model_copy(update=changes)))


def saving(layer):
    return SaveLayer(layer_id="global", kind="global", name="global", layer=layer)


def test_adding_names_the_streamer_after_its_address():
    (event,) = decide_add(Streamer(), ADD)
    assert isinstance(event, StreamerAdded)
    assert (event.name, event.platform, event.enabled) == ("42", "bilibili", True)


@pytest.mark.parametrize("secrets", [Secrets(stream_key="k"), Secrets(passphrase="p"), Secrets(cookies={"a": "b"})])
def test_what_is_sent_to_a_server_needs_the_domains_it_goes_to(secrets):
    with pytest.raises(Rejected, match="No domains"):
        decide_save_credential(0, SaveCredential(credential_id="c", name="c", sealed="x"), secrets)


def test_a_credential_says_what_it_holds_and_no_value():
    command = SaveCredential(credential_id="c", name="c", domains=("example.org",), sealed="x")
    (saved,) = decide_save_credential(0, command, Secrets(stream_key="hidden", passphrase="hidden"))
    assert saved.holds == ("stream key", "passphrase")


def test_an_address_with_a_passphrase_never_becomes_an_event():
    _check_address("srt://example.org:9000?streamid=x", EgressPolicy())
    with pytest.raises(Rejected) as refused:
        _check_address("srt://example.org:9000?passphrase=hidden", EgressPolicy())
    assert "credential" in refused.value.problem.detail
    assert "hidden" not in refused.value.problem.detail


def test_the_same_id_twice_is_refused():
    with pytest.raises(Rejected, match="exists"):
        decide_add(added(), ADD)


def test_the_highest_layer_that_sets_a_field_wins_and_provenance_says_so():
    streamer = added(template="t", layer=Layer(quality="4k"))
    layers = {
        "global": Layer(quality="low", segment_seconds=60, check_interval_s=5),
        "platform-bilibili": Layer(segment_seconds=120, check_interval_s=6),
        "template-t": Layer(check_interval_s=7),
    }
    (resolved,) = resolve(streamer, layers)
    effective, origin = resolved.effective, resolved.provenance
    assert (effective.quality, origin["quality"]) == ("4k", "streamer")
    assert (effective.segment_seconds, origin["segment_seconds"]) == (120, "platform-bilibili")
    assert (effective.check_interval_s, origin["check_interval_s"]) == (7, "template-t")
    assert origin["record_chat"] == "default"


def test_resolving_again_without_a_change_says_nothing():
    streamer = added()
    (resolved,) = resolve(streamer, {})
    assert resolve(STREAMER.fold([resolved], streamer), {}) == []


def test_a_layer_of_another_platform_changes_nothing():
    streamer = added()
    (resolved,) = resolve(streamer, {})
    assert resolve(STREAMER.fold([resolved], streamer), {"platform-twitch": Layer(quality="low")}) == []


def test_a_stale_version_is_refused_with_412():
    with pytest.raises(Rejected) as refusal:
        decide_change(added(), 3, ChangeStreamer(streamer_id="a", name="x", expected_version=2))
    assert refusal.value.problem.status == 412


@pytest.mark.parametrize("command", [StartStreamer, StopStreamer])
def test_starting_and_stopping_what_somebody_changed_meanwhile_is_refused_with_412(command):
    with pytest.raises(Rejected) as refusal:
        decide_enabled(added(), 3, command(streamer_id="a", expected_version=2))
    assert refusal.value.problem.status == 412
    assert decide_enabled(added(), 3, StopStreamer(streamer_id="a", expected_version=3))


def test_a_change_to_the_same_values_is_no_event():
    assert decide_change(added(), 1, ChangeStreamer(streamer_id="a", name="42")) == []


def test_clearing_the_template():
    (event,) = decide_change(added(template="t"), 1, ChangeStreamer(streamer_id="a", clear_template=True))
    assert event.template is None


@pytest.mark.parametrize(
    "decide",
    [
        lambda s: decide_remove(s, 0, RemoveStreamer(streamer_id="a")),
        lambda s: decide_enabled(s, 0, StartStreamer(streamer_id="a")),
    ],
)
def test_an_unknown_streamer_is_404(decide):
    with pytest.raises(Rejected) as refusal:
        decide(Streamer())
    assert refusal.value.problem.status == 404


def test_a_removed_streamer_is_unknown():
    removed = STREAMER.fold(decide_remove(added(), 1, RemoveStreamer(streamer_id="a")), added())
    with pytest.raises(Rejected):
        decide_remove(removed, 2, RemoveStreamer(streamer_id="a"))


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (Layer(engine_options={"ffmpeg": {"audio": "mp3"}}), "ffmpeg.audio"),
        (
            Layer(engine_options={"ffmpeg": {"hwaccel": "cuda"}}),
            "ffmpeg.hwaccel is not known; there are container, audio",
        ),
        (Layer(engine_options={"mencoder": {}}), "mencoder is not known; there are native, ffmpeg, streamlink, yt-dlp"),
        (Layer(engine_options={"streamlink": {"plugin": {"twitch-api-token": "x"}}}), "looks like a secret"),
        (Layer(network=Network(proxy="ftp://proxy:1")), "socks5"),
        (Layer(network=Network(proxy="http://proxy")), "host:port"),
        (Layer(network=Network(proxy="socks5://ann:secret@proxy:1080")), "credential"),
        (Layer(network=Network(proxy="http://proxy:99999")), "no address"),
        (Layer(network=Network(user_agent="a\r\nX-Evil: 1")), "control character"),
    ],
)
def test_what_no_engine_understands_is_refused_with_the_reason(layer, said):
    with pytest.raises(Rejected) as refusal:
        decide_add(Streamer(), ADD.model_copy(update={"layer": layer}))
    assert refusal.value.problem.status == 422
    assert said in refusal.value.problem.detail
    assert "secret@" not in refusal.value.problem.detail


def test_engines_with_their_options_and_a_proxy_are_accepted():
    layer = Layer(
        engine="yt-dlp",
        engine_options={"ffmpeg": {"audio": "aac"}, "yt-dlp": {"player": "ffmpeg"}, "native": {"segment_attempts": 2}},
        network=Network(proxy="socks5://[::1]:1080", account="mine"),
    )
    assert decide_add(Streamer(), ADD.model_copy(update={"layer": layer}))[0].layer == layer


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"processor": "remux", "options": {"fromat": "mkv"}}, "fromat is not known; remux has format, remove_input"),
        ({"processor": "thumbnail", "options": {"width": 1}}, "option width"),
        ({"processor": "copy", "options": {"to": "{secret}"}}, "unknown field {secret}"),
        ({"processor": "copy", "options": {"to": "//"}}, "the folder is empty"),
        ({"processor": "upload", "options": {"to": "ftp://host/x"}}, "s3://bucket/prefix or file:///folder"),
        ({"processor": "upload", "options": {"to": "file:///nas/../etc"}}, "'..'"),
        ({"processor": "execute", "options": {"command": "rm -rf /"}}, "option program"),
        ({"processor": "execute", "options": {"program": "/bin/x", "arguments": ["-i{input}"]}}, "whole argument"),
    ],
)
def test_a_step_that_no_processor_could_run_is_refused_before_anything_is_recorded(options, said):
    layer = Layer(pipelines=Pipelines(segment=(Step(id="one", **options),)))
    with pytest.raises(Rejected) as refusal:
        decide_add(Streamer(), ADD.model_copy(update={"layer": layer}))
    assert refusal.value.problem.status == 422
    assert refusal.value.problem.detail.startswith("segment: one: ")
    assert said in refusal.value.problem.detail


def test_steps_of_every_processor_are_accepted():
    steps = (
        Step(id="remux", processor="remux", options={"format": "mkv", "remove_input": True}),
        Step(id="picture", processor="thumbnail", options={"at_s": 0, "width": 640}, after=("remux",)),
        Step(id="keep", processor="copy", options={"to": "{platform}/{streamer}/{date}", "operation": "move"}),
        Step(id="send", processor="upload", options={"to": "s3://bucket/x", "folder": "{title}"}, after=("remux",)),
        Step(id="tell", processor="execute", options={"program": "/bin/x", "arguments": ["-i", "{input}"]}),
    )
    layer = Layer(pipelines=Pipelines(segment=steps), upload_to="file:///nas/videos")
    assert decide_add(Streamer(), ADD.model_copy(update={"layer": layer}))[0].layer == layer


@pytest.mark.parametrize(
    "upload_to",
    ["nonsense", "ftp://host/x", "s3://", "file://host/x", "s3://key:secret@bucket/x", "file:///a/../b", "http://["],
)
def test_a_destination_that_no_upload_could_reach_is_refused(upload_to):
    with pytest.raises(Rejected) as refusal:
        decide_save_layer(SharedLayer(), 0, saving(Layer(upload_to=upload_to)))
    assert refusal.value.problem.status == 422
    assert refusal.value.problem.detail.startswith("upload_to: ")


@pytest.mark.parametrize("timezone", ["Mars/Base", "../../etc/passwd", "/etc/localtime", "", "Europe", "x" * 300])
def test_a_window_in_no_time_zone_is_refused(timezone):
    filters = Filters(windows=(TimeWindow(start="18:00", end="23:00", timezone=timezone),))
    with pytest.raises(Rejected) as refusal:
        decide_add(Streamer(), ADD.model_copy(update={"layer": Layer(filters=filters)}))
    assert refusal.value.problem.status == 422
    assert "no time zone" in refusal.value.problem.detail


def test_a_layer_that_fits_into_no_event_is_refused_and_four_that_are_accepted_do():
    def layer(size):
        return Layer(filters=Filters(title_includes=("\u00fc" * (size // 2),)))

    with pytest.raises(Rejected) as refusal:
        decide_save_layer(SharedLayer(), 0, saving(layer(MAX_LAYER)))
    assert refusal.value.problem.status == 413
    wide = layer(MAX_LAYER - 200)
    assert decide_save_layer(SharedLayer(), 0, saving(wide))
    assert 4 * MAX_LAYER <= eventlog.MAX_BODY / 2


@pytest.mark.parametrize("template", ["../{index}", "/{index}", "{title.__class__}{index}", "plain"])
def test_file_templates_that_lead_outside_are_refused(template):
    with pytest.raises(Rejected) as refusal:
        decide_add(Streamer(), ADD.model_copy(update={"layer": Layer(file_template=template)}))
    assert refusal.value.problem.status == 422


@pytest.mark.parametrize(
    "steps",
    [
        (Step(id="a", processor="copy", after=("b",)), Step(id="b", processor="copy", after=("a",))),
        (Step(id="a", processor="copy", after=("nope",)),),
        (Step(id="a", processor="copy"), Step(id="a", processor="remux")),
    ],
)
def test_pipelines_that_are_no_graph_are_refused(steps):
    with pytest.raises(Rejected, match="pipeline"):
        decide_add(Streamer(), ADD.model_copy(update={"layer": Layer(pipelines=Pipelines(segment=steps))}))


def test_a_template_in_use_is_not_removed():
    state = LAYER.fold([LayerSaved(layer_id="template-t", kind="template", name="t", layer=Layer())])
    with pytest.raises(Rejected, match="in use"):
        decide_remove_layer(state, "template-t", users=2)
    assert decide_remove_layer(state, "template-t", users=0)


def test_a_layer_id_must_say_its_kind():
    with pytest.raises(Rejected):
        decide_save_layer(SharedLayer(), 0, SaveLayer(layer_id="x", kind="template", name="x", layer=Layer()))


@pytest.mark.parametrize(
    ("url", "platform"),
    [
        ("https://live.bilibili.com/1", "bilibili"),
        ("https://www.twitch.tv/x", "twitch"),
        ("https://play.sooplive.co.kr/x", "sooplive"),
        ("http://127.0.0.1:8000/live.flv", "direct"),
        ("http://localhost/live.flv", "direct"),
        ("http://[::1]/x", "direct"),
    ],
)
def test_platform_names(url, platform):
    assert platform_of(url) == platform


def test_two_spellings_of_one_channel_have_one_key():
    assert url_key("https://WWW.Example.com/a/") == url_key("http://example.com/a")
    assert url_key("http://example.com/a?x=1") != url_key("http://example.com/a?x=2")

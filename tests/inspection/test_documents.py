"""Documents between teams: what is written is read again, and what is wrong is refused by name."""

import contextlib
import dataclasses
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.codec import Document, DocumentError
from inspection.decode import Nms
from inspection.documents import (
    Approval,
    Capture,
    DesiredState,
    GoldenSample,
    InputSpec,
    ModelFile,
    Reason,
    Release,
    Reported,
    Sampling,
    ShadowOrder,
    Tolerance,
    Wave,
)
from inspection.geometry import Box, Detection
from inspection.picture import PictureLimits
from inspection.preprocess import Tiles
from inspection.report_parts import CameraState, FailedRelease, LineTally, ShadowTally
from inspection.rollout import PausedFor, RolloutPlan, RolloutState, Stage, Window
from inspection.verdict import ClassThreshold, Verdict

SHA = "0123456789abcdef" * 4
NOON = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
DETECTION = Detection("傷", 0.5, Box(1.5, 2.0, 3.0, 4.0))

CAPTURE = Capture(
    capture_id="c-1", sha256=SHA, device="line-1", camera="top", captured_at=NOON, reason=Reason.UNCERTAIN,
    part_id="部品 7", detections=(DETECTION,), verdict=Verdict.UNCERTAIN,
)  # fmt: skip
RELEASE = Release(
    use_case="metal-tag", version=3, models=(ModelFile(precision="fp32", file="model.onnx", sha256=SHA, bytes=7),),
    preprocess=InputSpec(width=320, height=224), classes=("傷",), thresholds={"傷": ClassThreshold(0.5, 0.25)},
    nms=Nms(), sampling=Sampling(uncertain_low=0.1, uncertain_high=0.6), latency_budget_ms=500.0, probation_s=120.0,
    golden=(GoldenSample(file=f"{SHA}.jpg", sha256=SHA, expected=(DETECTION,)),), min_agent_version="0.1.0",
    dataset_digest=SHA, training_run="r", evaluation_digest=SHA,
    approval=Approval(by="unauthenticated", at=NOON, model_sha256=SHA),
    picture_limits=PictureLimits(
        brightness_low=60.5, brightness_high=210.0, contrast_low=20.0, sharpness_low=50.25, pictures=80
    ),
)  # fmt: skip
DESIRED = DesiredState(
    sequence=4, use_case="metal-tag", probation_s=60.0,
    waves=(Wave(release_digest=SHA, devices=("line-1",)), Wave(release_digest=SHA, percent=50.0)),
)  # fmt: skip
REPORTED = Reported(
    device="line-1", group="line", reported_at=NOON, state="running", running_release=SHA, versions={"agent": "0.1.0"}
)
FROM_THE_LINE = replace(
    REPORTED, failures={SHA: FailedRelease(reason="too-slow: 900 ms a frame here", at=NOON, sequence=3)},
    pinned_release="", verdicts={"pass": 90, "not-inspected": 1},
    tallies=(
        LineTally(
            release_digest=SHA, since=NOON, frames=90, fail=3, uncertain=2, not_inspected=1, p95_ms=41.5, compared=20,
            disagreed=1,
        ),
    ),
    cameras={"top": CameraState(ok=True, last_frame_at=NOON), "side": CameraState(ok=False, reason="the cable is out")},
    shadow=ShadowTally(
        release_digest=SHA, since=NOON, frames=40, skipped=4, disagreed=2, fail=3, uncertain=1, former_fail=1,
        former_uncertain=1, p95_ms=80.0,
    ),
)  # fmt: skip
SHADOWED = replace(DESIRED, shadow=ShadowOrder(release_digest=SHA, devices=("line-1",), share=0.25, cpu_share=0.5))
STAGED = replace(
    DESIRED,
    rollout=RolloutPlan(
        version=3, release_digest=SHA, former_digest=None, stages=(Stage(devices=("line-1",)), Stage(percent=50.0)),
        open_stage=1, opened_at=NOON, began_at=NOON, state=RolloutState.PAUSED, paused_for=PausedFor.INCONCLUSIVE,
        reason="too few frames", by="reconciler", windows=(Window(days=("mon",), start="22:00", end="05:00"),),
        time_zone="Asia/Tokyo",
    ),
)  # fmt: skip
EACH = pytest.mark.parametrize(
    "document", [CAPTURE, RELEASE, DESIRED, SHADOWED, STAGED, REPORTED, FROM_THE_LINE], ids=lambda d: type(d).__name__
)


TALLY = json.loads(FROM_THE_LINE.to_json())["tallies"][0]


def changed(document, **changes):
    return json.dumps({**json.loads(document.to_json()), **changes}).encode()


@EACH
def test_what_is_written_is_read_again(document):
    """Reading gives the same value, and writing it again gives the same bytes."""
    again = type(document).from_json(document.to_json())
    assert again == document
    assert again.to_json() == document.to_json()


@EACH
def test_keys_of_a_newer_program_are_kept(document):
    """An unknown key of the document survives reading and writing."""
    data = changed(document, from_tomorrow={"a": [1, None, "ä"]})
    again = type(document).from_json(data)
    assert again.unknown == {"from_tomorrow": {"a": [1, None, "ä"]}}
    assert json.loads(again.to_json()) == json.loads(data)


AS_AGENTS_WROTE_IT = (
    b'{"device":"line-1","frames":7,"group":"line","outbox_depth":0,"outbox_dropped":0,"pending_release":null,'
    b'"problem":"top: the cable is out","reason":"up-to-date","rejected":2,'
    b'"reported_at":"2025-04-01T12:00:00.000000+00:00","running_release":null,"schema_version":1,"sequence_seen":0,'
    b'"state":"running","uptime_s":0.0,"versions":{"agent":"0.1.0"}}'
)
"""A report by an agent that still kept `frames`, `rejected` and `problem` among the unknown keys."""


def test_a_device_report_has_the_keys_and_values_that_earlier_agents_wrote():
    """The numbers of frames and the problem are fields now, under the same keys and in the same form.

    A key that earlier agents did not know is null where nothing is said.
    """
    report = Reported(
        device="line-1", group="line", reported_at=NOON, state="running", reason="up-to-date",
        versions={"agent": "0.1.0"}, frames=7, rejected=2, problem="top: the cable is out",
    )  # fmt: skip
    written, before = json.loads(report.to_json()), json.loads(AS_AGENTS_WROTE_IT)
    assert {key: written[key] for key in before} == before
    assert {key: value for key, value in written.items() if key not in before and value is not None} == {}
    assert Reported.from_json(AS_AGENTS_WROTE_IT) == report


def test_a_device_report_that_says_nothing_of_the_line_is_told_from_one_that_counted_nothing():
    """A report of an earlier agent has null where a report of now has an empty collection."""
    former = Reported.from_json(AS_AGENTS_WROTE_IT)
    unsaid = (former.failures, former.pinned_release, former.tallies, former.verdicts, former.cameras, former.shadow)
    assert unsaid == (None,) * 6
    empty = replace(former, failures={}, pinned_release="", tallies=(), verdicts={}, cameras={})
    again = Reported.from_json(empty.to_json())
    assert (again.failures, again.pinned_release, again.tallies, again.verdicts, again.cameras) == ({}, "", (), {}, {})


def test_a_desired_state_of_before_orders_no_candidate():
    """It is read, and no candidate judges."""
    value = json.loads(DESIRED.to_json())
    del value["shadow"]
    assert DesiredState.from_json(json.dumps(value).encode()) == DESIRED


def test_a_device_report_without_the_numbers_of_frames_is_still_read():
    """A report that does not say them has None in their place."""
    value = json.loads(AS_AGENTS_WROTE_IT)
    for key in ("frames", "rejected", "problem"):
        del value[key]
    report = Reported.from_json(json.dumps(value).encode())
    assert (report.frames, report.rejected, report.problem) == (None, None, None)
    assert report.unknown == {}


def test_a_release_of_an_earlier_version_has_no_limits_of_pictures():
    """It is read, and only a picture of one grey is doubted."""
    value = json.loads(RELEASE.to_json())
    del value["picture_limits"]
    assert Release.from_json(json.dumps(value).encode()).picture_limits is None


def test_an_input_that_says_nothing_of_tiles_is_written_as_before():
    """The keys came later, so that releases of before keep their bytes and digests; what is said is read again."""
    said = json.loads(RELEASE.to_json())["preprocess"]
    assert {"shrink", "tiles"}.isdisjoint(said)
    large = replace(RELEASE.preprocess, shrink=2, tiles=Tiles(scale=0.5, overlap_px=8))
    written = replace(RELEASE, preprocess=large).to_json()
    assert json.loads(written)["preprocess"] == {**said, "shrink": 2, "tiles": {"scale": 0.5, "overlap_px": 8}}
    read = Release.from_json(written)
    assert (read.preprocess, read.to_json()) == (large, written)
    assert read.preprocess.to_preprocess().tiles == large.tiles


def test_unknown_keys_are_kept_in_the_parts_of_a_document_too():
    """An unknown key of a model survives reading and writing."""
    data = json.loads(RELEASE.to_json())
    data["models"][0]["runtime"] = "onnxruntime"
    assert json.loads(Release.from_json(json.dumps(data).encode()).to_json()) == data


@EACH
def test_each_key_that_is_needed_is_missed_by_name(document):
    """The error names each field without a default that is missing."""
    for field in dataclasses.fields(document):
        value = json.loads(document.to_json())
        value.pop(field.name, None)
        data = json.dumps(value).encode()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            with pytest.raises(DocumentError, match=f"the key '{field.name}' is missing"):
                type(document).from_json(data)
        else:
            type(document).from_json(data)


@pytest.mark.parametrize(
    ("document", "key", "value", "said"),
    [
        (CAPTURE, "sha256", 5, "Capture.sha256: expected text"),
        (CAPTURE, "sha256", "abc", "64 hexadecimal digits"),
        (CAPTURE, "sha256", SHA.upper(), "64 hexadecimal digits"),
        (CAPTURE, "device", "../other", "expected a device"),
        (CAPTURE, "captured_at", "yesterday", "Capture.captured_at: expected a time as ISO 8601"),
        (CAPTURE, "captured_at", "2025-04-01T12:00:00", "a time with a zone"),
        (CAPTURE, "captured_at", "0001-01-01T00:00:00+23:00", "Capture.captured_at: expected a time"),
        (CAPTURE, "captured_at", 7, "Capture.captured_at: expected a time"),
        (CAPTURE, "reason", "bored", "Capture.reason: expected one of"),
        (CAPTURE, "verdict", "maybe", "Capture.verdict: expected one of"),
        (CAPTURE, "verdict", ["pass"], "Capture.verdict: expected one of"),
        (CAPTURE, "detections", {}, "Capture.detections: expected a list"),
        (CAPTURE, "detections", [[]], r"Capture.detections\[0\]: expected an object"),
        (REPORTED, "sequence_seen", 1.5, "Reported.sequence_seen: expected a whole number"),
        (REPORTED, "sequence_seen", True, "Reported.sequence_seen: expected a whole number"),
        (REPORTED, "uptime_s", "long", "Reported.uptime_s: expected a finite number"),
        (REPORTED, "uptime_s", True, "Reported.uptime_s: expected a finite number"),
        (REPORTED, "uptime_s", 10**400, "Reported.uptime_s: expected a finite number"),
        (REPORTED, "versions", ["0.1.0"], "Reported.versions: expected an object"),
        (REPORTED, "versions", {"agent": 1}, "Reported.versions.agent: expected text"),
        (REPORTED, "tallies", [{**TALLY, "release_digest": "latest"}], "tallies.0.: expected a sha256 of 64"),
        (REPORTED, "tallies", [{**TALLY, "frames": -1}], "frames is a number of frames, 0 or more, but got -1"),
        (REPORTED, "tallies", [{**TALLY, "fail": 91}], "fail counts some of 90 frames, but got 91"),
        (REPORTED, "tallies", [{**TALLY, "compared": 4, "disagreed": 5}], "disagreed counts some of 4 frames"),
        (REPORTED, "shadow", {"release_digest": SHA, "since": NOON.isoformat(), "fail": 1}, "fail counts some of 0"),
        (
            REPORTED,
            "failures",
            {SHA: {"reason": "too-slow", "sequence": 1}},
            "failures.0123.*: the key 'at' is missing",
        ),
        (DESIRED, "shadow", {"release_digest": SHA, "devices": [], "share": 1.5}, "lies in 0..1, but got 1.5"),
        (
            DESIRED,
            "shadow",
            {"release_digest": SHA, "devices": [], "cpu_share": 0},
            "cpu_share is above 0 and at most 1",
        ),
        (RELEASE, "models", [], "at least one model"),
        (RELEASE, "classes", [], "at least one model and one class"),
        (RELEASE, "thresholds", {}, "a threshold for each class"),
        (RELEASE, "thresholds", {"傷": {"fail": 0.2, "uncertain": 0.4}}, "Release.thresholds.傷: thresholds need"),
        (RELEASE, "preprocess", {"width": 300, "height": 200}, "Release.preprocess: input sides"),
        (RELEASE, "nms", {"iou": 7}, "Release.nms: nms iou"),
        (RELEASE, "sampling", {"uncertain_low": 0.6, "uncertain_high": 0.1}, "Release.sampling: sampling needs"),
        (DESIRED, "waves", [{"release_digest": SHA}], "either devices or a percent"),
        (DESIRED, "waves", [{"release_digest": SHA, "percent": 1, "devices": []}], "either devices or a percent"),
        (DESIRED, "waves", [{"release_digest": SHA, "percent": 101}], "percent lies in 0..100"),
        (DESIRED, "waves", [{"release_digest": "latest", "percent": 1}], "64 hexadecimal digits"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(document, key, value, said):
    """The message says where the value is, what was expected, and what came."""
    with pytest.raises(DocumentError, match=said):
        type(document).from_json(changed(document, **{key: value}))


@pytest.mark.parametrize(
    "name", ["../model.onnx", "/etc/passwd", "a/b", "", ".hidden", "a\n", "modèle.onnx", "x" * 200]
)
def test_a_release_never_names_a_path(name):
    """Files of a release are plain names, since a device joins them to a folder."""
    with pytest.raises(ValueError, match="plain file name"):
        ModelFile(precision="fp32", file=name, sha256=SHA, bytes=1)
    with pytest.raises(ValueError, match="plain file name"):
        GoldenSample(file=name, sha256=SHA, expected=())


@EACH
def test_a_newer_form_is_refused_with_what_to_do(document):
    """A program does not guess what a newer form means; the error says to update it."""
    with pytest.raises(DocumentError, match=r"schema_version 2 is newer than this program .* update it"):
        type(document).from_json(changed(document, schema_version=2))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'"text"', b"[" * 100_000, b'{"schema_version":true}']
)
def test_bytes_that_are_no_document_are_a_document_error(data):
    """Whatever a device writes, reading it raises DocumentError only."""
    with pytest.raises(DocumentError):
        Reported.from_json(data)


def test_numbers_that_are_none_are_not_read():
    """NaN and Infinity are refused everywhere, since JSON cannot hold them."""
    for text in (b"NaN", b"Infinity", b"1e999"):
        with pytest.raises(DocumentError):
            Reported.from_json(REPORTED.to_json().replace(b'"uptime_s":0.0', b'"uptime_s":' + text))
    with pytest.raises(DocumentError):
        Reported.from_json(REPORTED.to_json().replace(b'"uptime_s":0.0', b'"unheard_of":NaN'))


def test_text_that_cannot_be_written_is_not_read():
    """Half a surrogate pair has no UTF-8 form."""
    with pytest.raises(DocumentError):
        Reported.from_json(REPORTED.to_json().replace(b'"reason":""', b'"reason":"\\ud800"'))


def test_bytes_are_canonical():
    """Sorted keys, no spaces, UTF-8 and times in UTC: the digest of a release depends on it."""
    data = DESIRED.to_json()
    assert data == (
        b'{"again":null,"probation_s":60.0,"report_timeout_s":3600.0,"rollout":null,"schema_version":1,"sequence":4,"shadow":null,"use_case":"metal-tag","waves":['
        b'{"devices":["line-1"],"percent":null,"release_digest":"' + SHA.encode() + b'"},'
        b'{"devices":null,"percent":50.0,"release_digest":"' + SHA.encode() + b'"}]}'
    )
    assert "傷".encode() in RELEASE.to_json()
    shuffled = json.dumps(dict(reversed(json.loads(RELEASE.to_json()).items())), indent=3).encode()
    assert Release.from_json(shuffled).digest == RELEASE.digest


def test_one_moment_has_one_form():
    """Noon in UTC and 21:00 in Japan give the same bytes."""
    japan = dataclasses.replace(CAPTURE, captured_at=NOON.astimezone(timezone(timedelta(hours=9))))
    assert japan.to_json() == CAPTURE.to_json()


def test_the_digest_of_a_release_follows_every_change():
    """A release with another threshold has another digest."""
    other = dataclasses.replace(RELEASE, thresholds={"傷": ClassThreshold(0.5, 0.26)})
    assert other.digest != RELEASE.digest


def test_defaults_of_a_golden_sample_are_written():
    """A reader of another version must not use its own default tolerance."""
    assert json.loads(RELEASE.to_json())["golden"][0]["tolerance"] == {"score": 0.05, "box_px": 3.0}
    assert RELEASE.golden[0].tolerance == Tolerance()


def test_a_wave_by_name_includes_those_named():
    """A wave with device names includes these devices and no other device."""
    wave = Wave(release_digest=SHA, devices=("line-1", "line-2"))
    assert [wave.includes(name) for name in ("line-1", "line-2", "line-3", "line-11")] == [True, True, False, False]


def test_a_wave_by_share_is_a_fixed_share():
    """sha256("line-1") mod 100 is 15 and that of "line-2" is 55, on every machine."""
    assert not Wave(release_digest=SHA, percent=15).includes("line-1")
    assert Wave(release_digest=SHA, percent=15.5).includes("line-1")
    assert Wave(release_digest=SHA, percent=16).includes("line-1")
    assert not Wave(release_digest=SHA, percent=55).includes("line-2")
    assert Wave(release_digest=SHA, percent=56).includes("line-2")
    assert not Wave(release_digest=SHA, percent=0).includes("line-1")
    assert Wave(release_digest=SHA, percent=100).includes("line-1")


def test_a_wider_wave_keeps_whom_it_had():
    """A higher percent excludes no device, and the share of devices is about that percent."""
    names = [f"line-{n}" for n in range(1000)]
    reached = [{name for name in names if Wave(release_digest=SHA, percent=p).includes(name)} for p in (0, 10, 50, 100)]
    assert reached[0] < reached[1] < reached[2] < reached[3]
    assert 60 < len(reached[1]) < 140
    assert 430 < len(reached[2]) < 570


def test_the_first_wave_that_includes_a_device_counts():
    """A canary gets the new release, the others the old one, and a device in no wave gets none."""
    new, old = "a" * 64, "b" * 64
    desired = dataclasses.replace(
        DESIRED, waves=(Wave(release_digest=new, devices=("line-1",)), Wave(release_digest=old, percent=100))
    )
    assert desired.release_for("line-1") == new
    assert desired.release_for("line-2") == old
    assert dataclasses.replace(DESIRED, waves=desired.waves[:1]).release_for("line-2") is None


NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
TIMES = st.datetimes(
    min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-7, minutes=-30))]),
)  # fmt: skip
NUMBERS = st.floats(-1e6, 1e6)
DETECTIONS = st.builds(
    Detection, TEXT, st.floats(0, 1), st.builds(Box, NUMBERS, NUMBERS, st.floats(0.01, 1e4), st.floats(0.01, 1e4))
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)
UNKNOWN = st.dictionaries(TEXT.map(lambda text: f"x-{text}"), JSON, max_size=3)
CAPTURES = st.builds(
    Capture, capture_id=TEXT, sha256=st.just(SHA), device=NAMES, camera=TEXT, captured_at=TIMES,
    reason=st.sampled_from(Reason), sent_at=st.none() | TIMES, part_id=st.none() | TEXT, original_name=st.none() | TEXT,
    release_digest=st.none() | st.just(SHA), detections=st.lists(DETECTIONS, max_size=3).map(tuple),
    verdict=st.none() | st.sampled_from(Verdict), unknown=UNKNOWN,
)  # fmt: skip
REPORTS = st.builds(
    Reported, device=NAMES, group=NAMES, reported_at=TIMES, state=TEXT, reason=TEXT, sequence_seen=st.integers(),
    uptime_s=NUMBERS, versions=st.none() | st.dictionaries(TEXT, TEXT, max_size=3), unknown=UNKNOWN,
)  # fmt: skip


@given(CAPTURES | REPORTS)
def test_any_document_is_read_as_it_was_written(document: Document):
    """Any text, time, number and unknown key gives the same value and the same bytes."""
    again = type(document).from_json(document.to_json())
    assert again == document
    assert again.to_json() == document.to_json()


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_document_or_a_document_error(data):
    """Reading any bytes gives a document or raises `DocumentError`, and no other exception."""
    with contextlib.suppress(DocumentError):
        assert isinstance(Reported.from_json(data), Reported)

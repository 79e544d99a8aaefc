"""Which images people get first: rules, without a store."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.labeling.candidates import Candidates
from components.labeling.priority import LabelingCandidate, in_order, shortlist
from components.stores.raw_images.images import RawImage
from components.use_case import parse_use_case
from inspection.documents import Capture, Reason
from inspection.drifting import DriftingLine
from inspection.geometry import Box, Detection
from inspection.image import sha256_of
from inspection.verdict import Verdict

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def use_case(language="en", **priority):
    """`priority` as in the file; no caps and no chance unless asked for."""
    policy = {"random_share": 0.0, "max_per_group": 1000, "max_per_hour": 1000, **priority}
    lines = ", ".join(f"{key}: {value}" for key, value in policy.items())
    return parse_use_case(
        f"name: tags\nclasses: [scratch, dent]\nlabeling: {{instructions: x, language: {language}, "
        f"priority: {{{lines}}}}}\n"
        "sampling: {uncertain_low: 0.2, uncertain_high: 0.6}\n"
        "gates: {min_map50: 0.5, max_escape_rate: 0.5, max_overkill_rate: 0.5}\n"
    )


def image(name, day=NOON, captures=1):
    sha256 = sha256_of(name.encode())
    keys = tuple(f"{sha256}.{index}.json" for index in range(captures))
    return RawImage(sha256, f"s3://kizu-raw/{name}", "line1", day.date(), keys)


def capture(of, reason=Reason.CONTROL, *scores, at=NOON, release=None, verdict=None):
    detections = tuple(Detection("scratch", score, Box(1, 2, 3, 4)) for score in scores)
    return Capture(
        capture_id="1", sha256=of.sha256, device="line1", camera="c", captured_at=at, reason=reason,
        detections=detections, release_digest=release, verdict=verdict,
    )  # fmt: skip


def candidate(name, reason=Reason.CONTROL, *scores, at=NOON, group=None, waiting=False):
    picture = image(name, at)
    return LabelingCandidate(picture, (capture(picture, reason, *scores, at=at),), group or picture.sha256, waiting)


def names(placed):
    return [item.candidate.image.uri.rsplit("/", 1)[1] for item in placed]


def test_objections_come_first_then_doubt_then_the_newest_and_last_what_waits_for_the_verifier():
    """Each image says why it has its place, with the numbers."""
    day = timedelta(days=1)
    placed = in_order(
        [
            candidate("waiting", Reason.OBJECTION, waiting=True),
            candidate("old", at=NOON - day),
            candidate("new"),
            candidate("sure", Reason.CONTROL, 0.95),
            candidate("near", Reason.UNCERTAIN, 0.48),
            candidate("nearer", Reason.CONTROL, 0.51),
            candidate("disagreement", Reason.DISAGREEMENT, 0.9),
            candidate("objection", Reason.OBJECTION, 0.9, at=NOON - day),
        ],
        use_case(),
        {"scratch": 0.5},
    )
    by_newest = sorted(["new", "sure"], key=lambda name: sha256_of(name.encode()))
    assert names(placed) == ["objection", "disagreement", "nearer", "near", *by_newest, "old", "waiting"]
    assert [item.why for item in placed[:4]] == [
        "an operator objected",
        "two releases disagreed",
        "scratch scored 0.51, near the threshold of 0.50",
        "scratch scored 0.48, near the threshold of 0.50",
    ]
    assert "verification" in placed[-1].why


def test_without_a_champion_the_middle_of_the_band_stands_for_the_threshold():
    """Without thresholds, the middle of the use case's band of uncertainty counts as the threshold."""
    placed = in_order([candidate("a", Reason.UNCERTAIN, 0.25), candidate("b", Reason.UNCERTAIN, 0.41)], use_case())
    assert names(placed) == ["b", "a"]
    assert placed[0].why == "scratch scored 0.41, near the threshold of 0.40"


def test_verdicts_of_two_releases_that_differ_are_a_disagreement():
    """Two releases with different verdicts disagree, whatever the reasons for which the image was sent."""
    picture = image("twice")
    both = tuple(
        capture(picture, Reason.CONTROL, 0.9, release=release * 64, verdict=verdict)
        for release, verdict in (("a", Verdict.PASS), ("b", Verdict.FAIL))
    )
    alike = tuple(capture(picture, Reason.CONTROL, 0.9, release=release * 64, verdict=Verdict.FAIL) for release in "ab")
    assert in_order([LabelingCandidate(picture, both, "g")], use_case())[0].why == "two releases disagreed"
    assert in_order([LabelingCandidate(picture, alike, "g")], use_case())[0].why == "newest first"


def test_an_uncertain_frame_without_a_detection_is_doubt_too():
    """A device may be unsure of a frame by its verdict alone."""
    placed = in_order([candidate("plain"), candidate("unsure", Reason.UNCERTAIN)], use_case())
    assert names(placed) == ["unsure", "plain"]
    assert placed[0].why == "the device was uncertain"


@given(share=st.floats(0.0, 1.0), head=st.integers(1, 60))
def test_every_head_of_the_line_gives_chance_its_share(share, head):
    """The share by chance is kept for every number of places, also where doubtful images would fill them all."""
    doubt = [candidate(f"doubt-{index}", Reason.UNCERTAIN, 0.4) for index in range(60)]
    rest = [candidate(f"rest-{index}") for index in range(60)]
    placed = in_order(doubt + rest, use_case(random_share=share))
    assert len({item.candidate.image.sha256 for item in placed}) == 120
    by_chance = sum(item.why == "chosen by chance" for item in placed[:head])
    assert by_chance == int(head * share + 1e-9)


def test_chance_is_the_same_on_every_run_and_another_for_another_use_case():
    """Nothing but sha256 and use case decides it; not the order of arrival."""
    some = [candidate(f"image-{index}") for index in range(50)]
    chosen = use_case(random_share=1.0)
    first = names(in_order(some, chosen))
    assert names(in_order(reversed(some), chosen)) == first
    assert names(in_order(some, chosen.model_copy(update={"name": "plates"}))) != first


def test_no_part_and_no_hour_floods_the_queue():
    """Images above a cap come after all others and say so; none is lost."""
    flood = [candidate(f"flood-{index}", Reason.OBJECTION, group="part-1") for index in range(6)]
    others = [candidate(f"other-{index}", at=NOON - timedelta(minutes=90 + index)) for index in range(4)]
    placed = in_order(flood + others, use_case(max_per_group=2))
    groups = [item.candidate.group == "part-1" for item in placed]
    assert groups == [True] * 2 + [False] * 4 + [True] * 4
    assert placed[-1].why == "an operator objected; later, because others of its part come first"
    by_hour = in_order(flood + others, use_case(max_per_hour=3))
    hours = Counter(item.candidate.hour for item in by_hour[:6])
    assert set(hours.values()) == {3}
    assert len(by_hour) == 10


def test_the_order_is_explained_in_the_team_s_language():
    """Another language gives the same order with other words."""
    some = [candidate("a", Reason.OBJECTION), candidate("b", Reason.UNCERTAIN, 0.4)]
    assert [item.why for item in in_order(some, use_case("ja"))] == [
        "作業者から異議あり",
        "scratch のスコア 0.40 がしきい値 0.40 に近い",
    ]


def test_few_images_are_all_looked_at_and_of_many_those_that_promise_most():
    """Images with several Captures come first, then the newest, and a quarter by chance; only keys are read."""
    counts = (("new", 90), ("old", 900), ("twice", 10))
    kind_of = {sha256_of(f"{kind}-{number}".encode()): kind for kind, count in counts for number in range(count)}
    many = list(kind_of)
    several = frozenset(sha256 for sha256, kind in kind_of.items() if kind == "twice")
    assert shortlist(many, frozenset(), several, "tags", 1000) == list(range(1000))
    chosen = shortlist(many, frozenset(), several, "tags", 80)
    kinds = Counter(kind_of[many[place]] for place in chosen)
    assert kinds["twice"] >= 10
    assert kinds["new"] >= 50
    assert kinds["old"] >= 10
    assert len(set(chosen)) == 80
    assert all(kind_of[many[place]] == "twice" for place in chosen[:10])
    waiting = frozenset(many[50:])
    assert set(shortlist(many, waiting, several, "tags", 50)) == set(range(50))


@pytest.mark.parametrize("size", [0, 1, 2, 3])
def test_a_short_shortlist_is_no_longer_than_it_may_be(size):
    """The shortlist has at most the given size, also for a size of 0."""
    some = [sha256_of(str(index).encode()) for index in range(9)]
    assert len(shortlist(some, frozenset(), frozenset(some[:5]), "tags", size)) == size


def of_line(device, name, reason=Reason.CONTROL, *scores, at=NOON):
    """A candidate that a device sent."""
    sent = candidate(name, reason, *scores, at=at)
    return replace(
        sent,
        image=replace(sent.image, device=device),
        captures=tuple(replace(found, device=device) for found in sent.captures),
    )


DRIFT = DriftingLine(device="line2", since=NOON)


def test_images_of_a_line_that_drifts_get_a_share_of_the_places_and_the_others_keep_their_order():
    """A third of the places, doubtful ones first; each says that its line drifts, and why it would be there anyway."""
    old = NOON - timedelta(days=9)
    others = [of_line("line1", f"other-{index}", Reason.UNCERTAIN, 0.4 - index / 100) for index in range(8)]
    drifted = [
        of_line("line2", "plain"),
        of_line("line2", "doubtful", Reason.UNCERTAIN, 0.3),
        of_line("line2", "before", at=old),
        of_line("line3", "elsewhere"),
    ]
    policy = use_case(drift_share=0.34)
    placed = in_order(others + drifted, policy, {"scratch": 0.4}, [DRIFT])
    assert names(placed)[:6] == ["other-0", "other-1", "doubtful", "other-2", "other-3", "plain"]
    assert placed[2].why == "its line drifts (scratch scored 0.30, near the threshold of 0.40)"
    assert len(placed) == 12
    without = names(in_order(others + drifted, policy, {"scratch": 0.4}))
    assert [name for name in names(placed) if name not in ("plain", "doubtful")] == [
        name for name in without if name not in ("plain", "doubtful")
    ]


def test_a_line_that_drifts_in_one_class_is_preferred_with_pictures_of_that_class_only():
    """And an image without a capture only where the whole picture drifts, from that day on."""
    some = [
        of_line("line1", "other", Reason.UNCERTAIN, 0.4),
        of_line("line2", "scratched", Reason.CONTROL, 0.95),
        of_line("line2", "clean"),
        replace(of_line("line2", "imported"), captures=()),
    ]
    first = {
        classes: names(in_order(some, use_case(drift_share=1.0), None, [replace(DRIFT, classes=classes)]))
        for classes in (("scratch",), ("dent",), ())
    }
    assert first["scratch",][0] == "scratched"
    assert first["dent",][0] == "other"
    assert set(first[()][:3]) == {"scratched", "clean", "imported"}


@given(share=st.floats(0.0, 0.9), drifting=st.integers(0, 60), head=st.integers(1, 60))
def test_a_line_that_drifts_never_hides_the_others(share, drifting, head):
    """Of any number of first places, at most the share goes to its images that would not be there anyway."""
    others = [of_line("line1", f"other-{index}", Reason.UNCERTAIN, 0.4) for index in range(60)]
    flood = [of_line("line2", f"flood-{index}") for index in range(drifting)]
    placed = in_order(others + flood, use_case(drift_share=share), None, [DRIFT])
    preferred = sum(item.why.startswith("its line drifts") for item in placed[:head])
    assert preferred == min(drifting, int(head * share + 1e-9))


def test_the_shortlist_has_room_for_lines_that_drift():
    """Of many images their newest are looked at too, at most a quarter; those that wait for the verifier are not."""
    many = [sha256_of(str(index).encode()) for index in range(1000)]
    drifting = frozenset(many[900:])
    chosen = shortlist(many, frozenset(many[900:905]), frozenset(), "tags", 100, drifting)
    assert chosen[:25] == list(range(905, 930))
    assert chosen[25:75] == list(range(50))
    assert len(set(chosen)) == 100


def test_candidates_of_devices_are_found_by_their_keys():
    """Whatever their site; without devices nothing is looked for."""
    keys = [f"site{site}/line{line}/2026/03/01/{site}{line}.jpg" for site in (1, 2) for line in (1, 12)]
    chosen = pa.table({"key": keys, "sha256": ["11", "112", "21", "212"]})
    found = Candidates(None, chosen, {}, frozenset(), chosen)
    assert found.of_devices({"line1", "site2"}) == {"11", "21"}
    assert found.of_devices(set()) == frozenset()

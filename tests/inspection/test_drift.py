"""Counts in fixed bins: what a training writes down, and what a device counts."""

import json
from datetime import UTC, datetime

import pytest

from inspection.codec import DocumentError
from inspection.documents import Release
from inspection.drift import (
    BRIGHTNESS_EDGES,
    SCORE_EDGES,
    SHARPNESS_EDGES,
    SIZE_EDGES,
    DetectionCounter,
    DriftReference,
    LineWindow,
    LineWindows,
    PictureCounter,
    count_pictures,
    median,
)
from inspection.geometry import Box, Detection
from inspection.picture import PictureMeasure
from inspection.verdict import Verdict
from tests.inspection.test_documents import RELEASE, SHA

NOON = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
PICTURES = count_pictures([PictureMeasure(100.0, 30.0, 55.0), PictureMeasure(0.0, 0.0, 0.0)])


def found(*detections):
    counter = DetectionCounter()
    counter.add(Verdict.FAIL, detections, 300, 400)
    return counter.counts()


def test_each_value_falls_into_its_bin():
    """Worked out by hand: 100 of 255 is bin 12 of 8 wide; a box of 5x5 in 300x400 pixels is 1 % of the diagonal."""
    assert [place for place, count in enumerate(PICTURES.brightness) if count] == [0, 12]
    assert [place for place, count in enumerate(PICTURES.sharpness) if count] == [0, 12]  # 2 ** 5.5 = 45.3, 2 ** 6 = 64
    counts = found(Detection("傷", 0.52, Box(1, 2, 5, 5)), Detection("傷", 1.0, Box(0, 0, 300, 400)))
    assert counts.verdicts == {"fail": 1}
    assert [place for place, count in enumerate(counts.scores["傷"]) if count] == [10, 19]
    sizes = [place for place, count in enumerate(counts.sizes["傷"]) if count]
    assert (SIZE_EDGES[sizes[0] - 1] <= 0.01 < SIZE_EDGES[sizes[0]], sizes[1]) == (True, len(SIZE_EDGES))


def test_counting_goes_on_from_what_was_counted():
    """A counter that begins with earlier counts gives the sum."""
    again = PictureCounter(PICTURES)
    again.add(PictureMeasure(100.0, 30.0, 55.0))
    assert sum(again.counts().brightness) == 3
    before = found(Detection("a", 0.5, Box(1, 2, 5, 5)))
    counter = DetectionCounter(before)
    counter.add(Verdict.FAIL, [Detection("b", 0.5, Box(1, 2, 5, 5))], 300, 400)
    assert counter.counts().verdicts == {"fail": 2}
    assert sorted(counter.counts().scores) == ["a", "b"]
    assert before == found(Detection("a", 0.5, Box(1, 2, 5, 5)))


def test_a_median_lies_in_its_bin():
    """Four values between 1 and 2: the median of all lies half way; an open bin has its edge, and no value has none."""
    assert median((0, 4, 0), (1.0, 2.0)) == 1.5
    assert (median((3, 0, 0), (1.0, 2.0)), median((0, 0, 3), (1.0, 2.0))) == (1.0, 2.0)
    assert median((0, 0, 0), (1.0, 2.0)) is None


WINDOW = LineWindow(since=NOON, until=NOON, pictures=PICTURES, detections=found(Detection("a", 0.5, Box(1, 2, 5, 5))))
LINE = LineWindows(device="line-1", use_case="metal-tag", release_digest=SHA, windows=(WINDOW,))


def test_what_a_device_tells_of_its_line_is_read_again_with_keys_of_a_newer_agent():
    """The bytes are the same; an unknown key is kept."""
    assert LineWindows.from_json(LINE.to_json()) == LINE
    value = {**json.loads(LINE.to_json()), "from_tomorrow": 1}
    assert json.loads(LineWindows.from_json(json.dumps(value).encode()).to_json()) == value


def test_counts_in_bins_of_another_version_are_read_and_counts_that_cannot_be_are_refused():
    """A newer agent may count in more bins: that is no damage. A count too few in these bins is."""
    value = json.loads(LINE.to_json())
    value["windows"][0]["pictures"] = {"bins": 2, "brightness": [1, 2], "sharpness": [3]}
    assert LineWindows.from_json(json.dumps(value).encode()).windows[0].pictures.bins == 2
    value["windows"][0]["pictures"]["bins"] = 1
    with pytest.raises(DocumentError, match="brightness: expected 32 counts"):
        LineWindows.from_json(json.dumps(value).encode())


@pytest.mark.parametrize("edges", [SCORE_EDGES, SIZE_EDGES, BRIGHTNESS_EDGES, SHARPNESS_EDGES])
def test_edges_rise(edges):
    """So that each value has one bin."""
    assert list(edges) == sorted(set(edges))


def test_a_release_without_a_reference_keeps_its_digest():
    """A release that was published before keeps its bytes, and so its name; one with a reference is read again."""
    assert b"drift" not in RELEASE.to_json()
    with_it = Release.from_json(
        json.dumps(
            {
                **json.loads(RELEASE.to_json()),
                "drift": json.loads(LINE.to_json())["windows"][0] | {"since": None, "until": None},
            }
        ).encode()
    )
    assert with_it.drift.pictures == PICTURES
    assert Release.from_json(with_it.to_json()).digest == with_it.digest != RELEASE.digest
    reference = DriftReference(pictures=PICTURES, detections=WINDOW.detections)
    assert with_it.drift.detections == reference.detections

"""A device cuts large pictures as its release says, and judges the region that its configuration leaves."""

import io
import json
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from edge_agent.camera_config import Cameras, FolderCamera
from edge_agent.inference import RuntimeChoice, load_inspector
from edge_agent.memory_budget import MemoryBudget
from edge_agent.ota.trial import try_release
from edge_agent.recent_frames import RecentFrame
from edge_agent.shadow.worker import LENGTH_BYTES, serve
from edge_agent.web.picture import draw
from inspection import Box, Detection, InputSpec, Picture, Tiles, Verdict, decode_image
from inspection.part_view import UNKNOWN_VIEW
from inspection.region import Region
from tests.edge_agent.bench import Bench, loaded
from tests.edge_agent.models import BAD, GOOD, QUADRANTS, SIDE, build_candidate, build_release, picture

TILED = InputSpec(width=SIDE, height=SIDE, tiles=Tiles(overlap_px=0))
LEFT = Region(width=SIDE, height=SIDE, mask=(((0, 0), (40, 0), (40, 40), (0, 40)),))
"""Cuts away the quadrant that `BAD` shows a defect in."""


def wide(*columns: int) -> bytes:
    """A PNG of several pictures of `SIDE` pixels side by side; the first quadrant of each has this grey value."""
    image = np.full((SIDE, SIDE * len(columns), 3), 20, np.uint8)
    for number, grey in enumerate(columns):
        image[:32, SIDE * number : SIDE * number + 32] = grey
    return cv2.imencode(".png", image)[1].tobytes()


# -- tiles and the size at which a picture is decoded -----------------------------------------------------------------


def test_a_release_with_tiles_finds_a_defect_on_the_second_tile(tmp_path):
    """Its box is in pixels of the whole picture."""
    release = loaded(tmp_path, preprocess=TILED, golden=())
    inspection, _ = release.inspect(release.read(wide(10, 255, 10)))
    assert inspection.verdict is Verdict.FAIL
    assert inspection.detections[0] == Detection("scratch", 1.0, Box(SIDE, 0, 32, 32))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_device_reproduces_the_golden_samples_of_tiles_on_its_threads(tmp_path, threads):
    """An agent that read the pictures in another way would refuse the release."""
    sample = picture(*BAD)
    built = build_release(preprocess=TILED)
    assert try_release(built.write(tmp_path / "a"), built.digest, RuntimeChoice(threads=threads)).ok
    other = build_release(preprocess=replace(TILED, tiles=Tiles(scale=0.5, overlap_px=0)))
    said = try_release(other.write(tmp_path / "b"), other.digest, RuntimeChoice(threads=threads))
    assert said.reason == "golden-samples"
    assert sample == built.files["golden.png"]


def test_the_tiles_of_a_picture_share_the_threads_of_the_device(tmp_path):
    """Two threads: two tiles at the same time, each on one. OpenVINO and other providers take one after the other."""
    built = build_release(preprocess=TILED)
    folder = built.write(tmp_path)
    _, inspector = load_inspector(folder, built.release, RuntimeChoice(threads=2))
    assert inspector._at_once == 2
    _, inspector = load_inspector(folder, built.release, RuntimeChoice(threads=2, backend="openvino"))
    assert inspector._at_once == 1
    whole = build_release()
    _, inspector = load_inspector(whole.write(tmp_path / "whole"), whole.release, RuntimeChoice(threads=2))
    assert inspector._at_once == 1


def test_a_picture_is_decoded_as_the_release_says_and_told_in_full_pixels(tmp_path):
    """The result and the counts of the line have the picture's own pixels; the release before reads it its own way."""
    looked = []
    bench = Bench(tmp_path, looked=lambda result, inspection, width, height: looked.append((width, height)))
    running = loaded(tmp_path / "r", preprocess=InputSpec(width=SIDE, height=SIDE, shrink=8), golden=())
    before = loaded(tmp_path / "b", version=2, golden=())
    bench.active.set(running)
    bench.active.previous = before
    image = np.zeros((SIDE * 8, SIDE * 8, 3), np.uint8)
    image[: SIDE * 4, : SIDE * 4] = 255
    bench.feed("a.jpg", cv2.imencode(".jpg", image)[1].tobytes())
    assert bench.loop.step(running, 2.0)
    (result,) = bench.results()
    box = result["detections"][0]["box"]
    assert [round(box[key]) for key in ("x", "y", "width", "height")] == [0, 0, SIDE * 4, SIDE * 4]
    assert looked == [(SIDE * 8, SIDE * 8)]
    bench.outbox.close()


# -- the region of a camera -------------------------------------------------------------------------------------------


def test_what_a_camera_does_not_leave_is_not_judged(tmp_path):
    """The defect lies in the mask: the part passes. The image and the result are those of the whole picture."""
    data = picture(*BAD)
    for judged, verdict in (({}, "fail"), ({"camera": LEFT}, "pass")):
        folder = tmp_path / verdict
        folder.mkdir()
        bench = Bench(folder, regions=judged)
        bench.feed("a.png", data)
        assert bench.loop.step(loaded(folder / "r"), 2.0)
        (result,) = bench.results()
        assert result["verdict"] == verdict
        assert bench.recent.all()[0].data == data
        bench.outbox.close()


def test_a_picture_that_a_region_does_not_fit_is_uncertain_with_the_reason(tmp_path):
    """The line is told why."""
    bench = Bench(tmp_path, regions={"camera": replace(LEFT, width=SIDE + 10)})
    bench.feed("a.png", picture(*GOOD))
    assert bench.loop.step(loaded(tmp_path / "r"), 2.0)
    (result,) = bench.results()
    assert (result["verdict"], result["reason"]) == ("uncertain", "region")
    bench.outbox.close()


def test_a_candidate_judges_the_same_region():
    """Its process is told what of each picture is judged; a picture after it is judged as a whole again."""
    built = build_candidate()
    stream, answers = io.BytesIO(), io.StringIO()
    view = json.dumps(asdict(UNKNOWN_VIEW)).encode()
    for item in (view, LEFT.to_json(), picture(*BAD), view, b"", picture(*BAD)):
        stream.write(len(item).to_bytes(LENGTH_BYTES) + item)
    stream.seek(0)

    class Asked:
        def read(self, data, *, max_pixels):
            return Picture(decode_image(data), SIDE, SIDE)

        def inspect(self, image, *, score_floor, view, region):
            from inspection.inspector import Inspection

            return Inspection((), Verdict.PASS if region == LEFT else Verdict.FAIL)

    serve(built.candidate, Asked(), stream, answers, 10_000)
    assert [json.loads(line)["verdict"] for line in answers.getvalue().splitlines()] == ["pass", "fail"]


def test_the_page_shows_what_is_cut_away(tmp_path):
    """It is dark, with a border; the rest of the picture is as it was."""
    bench = Bench(tmp_path)
    bench.feed("a.png", picture(200, 200, 200, 200))
    assert bench.loop.step(loaded(tmp_path / "r"), 2.0)
    frame = bench.recent.all()[0]
    frame = RecentFrame(replace(frame.result, detections=()), frame.data)
    bench.outbox.close()
    budget = MemoryBudget(3_000_000)
    plain, shown = decode_image(draw(frame, budget)), decode_image(draw(frame, budget, LEFT))
    assert shown[5:30, 5:30].mean() < 0.5 * plain[5:30, 5:30].mean()
    assert abs(float(shown[50:, 50:].mean()) - float(plain[50:, 50:].mean())) < 8
    missed = RecentFrame(replace(frame.result, verdict=Verdict.UNCERTAIN, reason="region"), frame.data)
    assert decode_image(draw(missed, budget, LEFT))[5:30, 5:30].mean() > 150


def cameras(**values):
    return TypeAdapter(Cameras).validate_python([{"source": "folder", "path": "/in", **values}])[0]


def test_a_camera_names_its_region_in_pixels_of_its_pictures():
    """Crop, mask and turn; a camera that says nothing of them judges whole pictures."""
    assert cameras().region is None
    camera = cameras(
        picture_size={"width": SIDE, "height": SIDE}, mask=[[[0, 0], [40, 0], [40, 40], [0, 40]]], rotate=180
    )
    assert camera.region == replace(LEFT, rotate=180)
    assert isinstance(camera, FolderCamera)
    cropped = cameras(picture_size={"width": 10, "height": 9}, crop={"x": 1, "y": 2, "width": 9, "height": 7})
    assert cropped.region.crop.width == 9


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"crop": {"x": 0, "y": 0, "width": 5, "height": 5}}, "give picture_size"),
        (
            {"picture_size": {"width": 9, "height": 9}, "crop": {"x": 5, "y": 0, "width": 5, "height": 5}},
            "does not lie in a picture of 9 x 9",
        ),
        ({"picture_size": {"width": 9, "height": 9}, "mask": [[[0, 0], [10, 0], [5, 5]]]}, r"the point \(10, 0\)"),
        ({"rotate": 45}, "0, 90, 180 or 270"),
        ({"crop": {"x": 0, "y": 0, "width": 5, "height": 5, "z": 1}}, "Extra inputs"),
    ],
)
def test_a_region_outside_of_the_pictures_is_refused_in_the_configuration(values, said):
    """Before the agent starts."""
    with pytest.raises(ValidationError, match=said):
        cameras(**values)


def test_the_quadrants_of_the_test_model_are_where_the_region_says():
    """The mask covers the first quadrant and not the second."""
    assert LEFT.drawn(SIDE, SIDE, 1.0, 1.0)[:32, :32].all()
    assert not LEFT.drawn(SIDE, SIDE, 1.0, 1.0)[:32, 45:].any()
    assert QUADRANTS[0].width == 32

"""The generated production line."""

import hashlib
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

from components.generated_parts.photographs import LineGenerator
from inspection.image import decode_image
from tests.components.generated_parts.thresholding import best_thresholding


def test_same_seed_gives_the_same_bytes():
    """Two lines with one seed have the same bytes, in whatever order parts are asked for."""
    first = list(LineGenerator(seed=7).photographs(range(4)))
    again = [photo for index in (3, 2, 1, 0) for photo in LineGenerator(seed=7).part(index)]
    assert sorted(again, key=lambda p: p.name) == first
    assert len({hashlib.sha256(p.jpeg).digest() for p in first}) == len(first)


def test_another_seed_gives_other_parts():
    """Lines with different seeds share neither images nor names."""
    ours, theirs = LineGenerator(seed=7).part(0), LineGenerator(seed=8).part(0)
    assert {p.name for p in ours}.isdisjoint(p.name for p in theirs)
    assert {p.jpeg for p in ours}.isdisjoint(p.jpeg for p in theirs)


def test_photographs_are_colour_jpegs_of_the_asked_size():
    """Photographs have 450x300 pixels by default, and the boxes lie inside."""
    for generator, size in (
        (LineGenerator(seed=1), (300, 450, 3)),
        (LineGenerator(1, width=640, height=480), (480, 640, 3)),
    ):
        for photo in generator.photographs(range(6)):
            assert photo.jpeg[:2] == b"\xff\xd8"
            assert decode_image(photo.jpeg).shape == size
            for labelled in photo.boxes:
                x1, y1, x2, y2 = labelled.box.xyxy
                assert labelled.class_name == "scratch"
                assert 0 <= x1 < x2 <= size[1]
                assert 0 <= y1 < y2 <= size[0]


def test_hairlines_are_another_line_of_parts():
    """Hairlines are deterministic, inside the photograph, in any direction, and may overlap. Good parts have none."""
    line = LineGenerator(seed=4, scratches="hairline", defect_rate=0.8, photographs_per_part=2)
    photos = list(line.photographs(range(30)))
    assert photos == list(line.photographs(range(30)))
    assert {p.jpeg for p in photos}.isdisjoint(p.jpeg for p in LineGenerator(seed=4).photographs(range(3)))
    assert {p.defective for p in photos} == {True, False}
    boxes = [labelled.box for photo in photos for labelled in photo.boxes]
    assert all(0 <= b.x < b.x + b.width <= 450 and 0 <= b.y < b.y + b.height <= 300 for b in boxes)
    assert any(b.width > 4 * b.height for b in boxes)
    assert any(b.height > 4 * b.width for b in boxes)
    assert max(len(p.boxes) for p in photos) >= 4


def test_photographs_of_one_part_share_its_scratches_and_nothing_else():
    """Part id and number of scratches are the same; pose, light and noise differ."""
    for index in range(8):
        photos = LineGenerator(seed=2, photographs_per_part=4).part(index)
        assert len(photos) == 4
        assert len({p.part_id for p in photos}) == 1
        assert len({len(p.boxes) for p in photos}) == 1
        assert len({p.boxes for p in photos}) == (4 if photos[0].defective else 1)


def test_defect_rate_is_the_share_of_defective_parts():
    """No part is defective at a rate of 0, all at 1, and about a third at a third."""
    assert not any(p.defective for p in LineGenerator(3, 0.0, 1).photographs(range(10)))
    assert all(p.defective for p in LineGenerator(3, 1.0, 1).photographs(range(10)))
    share = np.mean([p.defective for p in LineGenerator(3, 1 / 3, 1).photographs(range(90))])
    assert 0.2 < share < 0.47


def test_boxes_fit_the_scratches():
    """Where two photographs differ in the scratches alone, the differing pixels fill the boxes."""
    for index in range(12):
        (bad,) = LineGenerator(4, 1.0, 1, jpeg_quality=100).part(index)
        (good,) = LineGenerator(4, 0.0, 1, jpeg_quality=100).part(index)
        change = np.abs(decode_image(bad.jpeg).astype(int) - decode_image(good.jpeg)).max(axis=2)
        for labelled in bad.boxes:
            x1, y1, x2, y2 = (int(v) for v in labelled.box.xyxy)
            rows, columns = np.nonzero(change[y1:y2, x1:x2] > 12)
            assert rows.min() <= 4
            assert columns.min() <= 4
            assert rows.max() >= y2 - y1 - 5
            assert columns.max() >= x2 - x1 - 5
            change[max(y1 - 4, 0) : y2 + 4, max(x1 - 4, 0) : x2 + 4] = 0
        assert (change > 12).sum() == 0


def test_no_scratch_is_a_speck():
    """A person can find every box again: it has at least 15 pixels on its short side and 35 on its diagonal."""
    for photo in LineGenerator(5, 1.0, 1).photographs(range(40)):
        for labelled in photo.boxes:
            assert min(labelled.box.width, labelled.box.height) >= 15
            assert np.hypot(labelled.box.width, labelled.box.height) >= 35


def test_the_line_is_fast_enough_to_wait_for():
    """Forty photographs take less than eight seconds, on a busy machine as well."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        start = time.process_time()
        count = sum(1 for _ in LineGenerator(6).photographs(range(14)))
        assert count / (time.process_time() - start) > 5
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"defect_rate": 1.5}, {"photographs_per_part": 0}, {"width": 10}, {"jpeg_quality": 0}]
)
def test_a_line_that_cannot_be_is_refused(wrong):
    """The error names the setting and its value."""
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}|pixels"):
        LineGenerator(**{"seed": 1, **wrong})


@pytest.mark.parametrize("seed", [1, 2])
def test_thresholding_is_no_inspection(seed):
    """The best of some hundred settings, chosen on these very images, finds little and rejects good parts."""
    best = best_thresholding(list(LineGenerator(seed, photographs_per_part=1).photographs(range(40))))
    assert best.map50 < 0.40, best
    assert best.overkill >= 0.30, best


def test_a_lamp_that_ages_and_a_lens_that_blurs_change_the_picture_and_not_the_part():
    """The same parts with the same boxes, darker or softer; a new lamp and a clean lens give the bytes of before."""
    usual = LineGenerator(seed=5, photographs_per_part=1)
    assert LineGenerator(seed=5, photographs_per_part=1, lamp=1.0, blur=0.0).part(3) == usual.part(3)
    [new], [old], [soft] = usual.part(3), replace(usual, lamp=0.7).part(3), replace(usual, blur=1.5).part(3)
    assert new.boxes == old.boxes == soft.boxes
    bright, dark, blurred = (decode_image(photo.jpeg).astype(float) for photo in (new, old, soft))
    assert dark.mean() == pytest.approx(0.7 * bright.mean(), rel=0.03)
    assert blurred.mean() == pytest.approx(bright.mean(), rel=0.01)
    assert cv2.Laplacian(blurred, cv2.CV_64F).var() < 0.5 * cv2.Laplacian(bright, cv2.CV_64F).var()


@pytest.mark.parametrize("wrong", [{"lamp": 0.0}, {"lamp": 1.1}, {"blur": -1.0}])
def test_a_lamp_and_a_blur_that_cannot_be_are_refused(wrong):
    """A lamp gives some light, and no more than a new one."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LineGenerator(seed=5, **wrong)

"""Photographs that show the same thing: found though they differ, and never joined because they look alike."""

import csv
import itertools
import os
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.generated_parts.photographs import LineGenerator
from components.stores.raw_images import near_duplicates
from components.stores.raw_images.likeness import SIMILAR, compare
from components.stores.raw_images.near_duplicates import (
    Fingerprint,
    find_near_duplicates,
    fingerprint,
    shrink,
    similar_pairs,
    thumbnail,
)
from inspection.image import decode_image

LINE = LineGenerator(seed=11, photographs_per_part=2)
PUBLIC = os.environ.get("KIZU_PUBLIC_TAGS")


def photograph(part=0, shot=0):
    return decode_image(LINE.part(part)[shot].jpeg)


def jpeg_again(image, quality=60):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def moved(image, dx, dy, degrees=0.0):
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    matrix[:, 2] += (dx, dy)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


VARIANTS = {
    "encoded again": lambda image: jpeg_again(image),
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=1.15, beta=10),
    "moved": lambda image: moved(image, 9, -6, 1.5),
    "turned by half": lambda image: cv2.rotate(image, cv2.ROTATE_180),
    "moved, turned, darker and encoded again": lambda image: jpeg_again(
        cv2.convertScaleAbs(moved(cv2.rotate(image, cv2.ROTATE_180), -7, 5, -1.0), alpha=0.85)
    ),
}


def found(images):
    prints = {name: fingerprint(thumbnail(image)) for name, image in images.items()}
    return list(find_near_duplicates(prints, images.get))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("part", range(2))
def test_a_photograph_is_known_again(variant, part):
    """Among photographs of other parts, of which none is taken for it."""
    images = {f"other {n}": photograph(n) for n in range(20, 23)}
    images["it"] = photograph(part)
    images["variant"] = VARIANTS[variant](images["it"])
    pairs = found(images)
    assert [(pair.a, pair.b) for pair in pairs] == [("it", "variant")]


@pytest.mark.parametrize("variant", ["half the size", "moved", "turned by half"])
def test_the_transform_leads_from_one_image_to_the_other(variant):
    """A point of the first lies within two pixels of where it is on the second, in pixels of each."""
    image = photograph()
    (pair,) = found({"a": image, "b": VARIANTS[variant](image)})
    height, width = image.shape[:2]
    for x, y in ((100, 80), (225, 150), (350, 220)):
        where = pair.transform @ (x, y, 1)
        if variant == "half the size":
            expected = (x / 2, y / 2)
        elif variant == "turned by half":
            expected = (width - 1 - x, height - 1 - y)
        else:
            turn = cv2.getRotationMatrix2D((width / 2, height / 2), 1.5, 1.0) @ (x, y, 1)
            expected = (turn[0] + 9, turn[1] - 6)
        assert where[:2] / where[2] == pytest.approx(expected, abs=2)


def test_different_parts_are_never_taken_for_one():
    """Every pair of twelve parts, whatever the hash says: the confirmation itself tells them apart."""
    small = [thumbnail(photograph(part)) for part in range(100, 112)]
    for a, b in itertools.combinations(small, 2):
        similarity, _ = compare(a, b, turned=False)
        assert similarity < SIMILAR


def test_pictures_without_anything_fine_are_duplicates_of_nothing():
    """Flat, a soft gradient, and noise: nothing says that they show the same."""
    flat = np.full((120, 160, 3), 90, np.uint8)
    soft = np.repeat(np.tile(np.linspace(20, 220, 160, dtype=np.uint8), (120, 1))[:, :, None], 3, axis=2)
    noise = [np.random.default_rng(seed).integers(0, 255, (120, 160, 3), dtype=np.uint8) for seed in (1, 2)]
    for one, other in itertools.combinations([flat, flat + 1, soft, soft // 2 + 40, *noise], 2):
        assert found({"a": one, "b": other}) == []


def test_an_image_that_cannot_be_had_is_compared_with_nothing():
    """Others still are; nor is a pair that is not wanted."""
    images = {"a": photograph(), "b": jpeg_again(photograph()), "gone": photograph()}
    prints = {name: fingerprint(thumbnail(image)) for name, image in images.items()}
    del images["gone"]
    assert [(p.a, p.b) for p in find_near_duplicates(prints, images.get)] == [("a", "b")]
    assert list(find_near_duplicates(prints, images.get, wanted=lambda a, b: False)) == []


def test_candidates_are_the_nearest_hashes_upright_or_turned():
    """Planted among two thousand others: three bits apart, and one that lies the other way round."""
    rng = np.random.default_rng(3)
    prints = [Fingerprint(*(int(v) for v in rng.integers(0, 2**63, 2))) for _ in range(2000)]
    prints[700] = Fingerprint(prints[7].upright ^ 0b10010001, prints[700].turned)
    prints[900] = Fingerprint(prints[900].upright, prints[9].upright ^ (1 << 63))
    by_pair = {(c.a, c.b): (c.turned, c.distance) for c in similar_pairs(prints)}
    assert by_pair[7, 700] == (False, 3)
    assert by_pair[9, 900] == (True, 1)


def test_many_that_look_alike_make_no_square_of_pairs():
    """Five thousand equal hashes: a few candidates an image, not twelve million."""
    alike = [Fingerprint(12345, 67890)] * 5000
    assert len(similar_pairs(alike, per_image=4)) <= 5000 * 4
    assert similar_pairs(alike[:1]) == similar_pairs([]) == []


@pytest.mark.skipif(PUBLIC is None, reason="KIZU_PUBLIC_TAGS names no folder of real images")
def test_real_parts_that_look_alike_are_not_joined():
    """Of 157 photographs of 20 tags no two of different tags are taken for one."""
    folder = Path(PUBLIC)
    with (folder / "parts.csv").open() as stream:
        parts = {row["image"]: row["part"] for row in csv.DictReader(stream)}
    images = {name: decode_image((folder / "images" / name).read_bytes()) for name in parts}
    pairs = found(images)
    assert [(p.a, p.b) for p in pairs if parts[p.a] != parts[p.b]] == []


@pytest.mark.parametrize("size", [(7, 5), (16, 16), (9, 8), (37, 29), (50, 40)])
def test_a_smaller_image_is_the_exact_mean_of_the_areas(size):
    """Computed with fractions by hand: no float, whose last digit depends on the processor, is in it."""
    grey = np.random.default_rng(1).integers(0, 256, (29, 37), np.uint8)
    small = shrink(grey, size)
    assert (small.shape, small.dtype) == ((size[1], size[0]), np.uint8)
    for row, column in ((0, 0), (size[1] - 1, size[0] - 1), (size[1] // 2, size[0] // 3)):
        assert small[row, column] == mean_of_area(grey, row, column, size)


def mean_of_area(grey, row, column, size):
    height, width = Fraction(grey.shape[0], size[1]), Fraction(grey.shape[1], size[0])
    total = Fraction(0)
    for y, values in enumerate(grey):
        down = min(y + 1, (row + 1) * height) - max(y, row * height)
        for x, value in enumerate(values):
            across = min(x + 1, (column + 1) * width) - max(x, column * width)
            if down > 0 and across > 0:
                total += down * across * int(value)
    return int(total / (height * width) + Fraction(1, 2))


def test_the_last_digits_of_a_likeness_do_not_decide(monkeypatch):
    """One processor computes 0.2499999, another 0.2500001: both call the two images the same."""
    images = {name: np.full((64, 64, 3), 7, np.uint8) for name in ("a", "b")}
    prints = {name: fingerprint(thumbnail(image)) for name, image in images.items()}
    for exact in (SIMILAR - 1e-7, SIMILAR + 1e-7):
        monkeypatch.setattr(near_duplicates, "compare", lambda *_, turned, exact=exact: (exact, np.eye(3)))
        (pair,) = find_near_duplicates(prints, images.__getitem__)
        assert pair.similarity == SIMILAR

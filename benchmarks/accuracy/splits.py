"""Several splits that keep whole parts apart. A rule selects them before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from components.dataset.split import split_of
from components.stores.datasets.manifest import Manifest, SplitName
from components.use_case import Split

# Parts are few and uneven: a split counts only where test and validation
# have some parts and a fair share of the images.
_TEST: Final = (4, 0.15, 0.30)
_VALIDATION: Final = (2, 0.08, 0.25)
_MAX_SEED: Final = 10_000


def part_splits(manifest: Manifest, split: Split, wanted: int, unit_of: Callable[[str], str] = str) -> list[Manifest]:
    """Split the manifest under each of the first `wanted` seeds, from 0 on, that give a fair split.

    unit_of: a part -> what falls to a split with it, see `Grouping.unit_of`; each part alone by default.

    Raises:
        ValueError: there are fewer such seeds.
    """
    found: list[Manifest] = []
    for seed in range(_MAX_SEED):
        candidate = _under(manifest, split.model_copy(update={"seed": seed}), unit_of)
        if all(_fair(candidate, name, *bounds) for name, bounds in _bounds()):
            found.append(candidate)
        if len(found) == wanted:
            return found
    raise ValueError(f"expected {wanted} fair splits, but found {len(found)}; are there enough parts?")


def _bounds() -> Iterator[tuple[SplitName, tuple[int, float, float]]]:
    yield SplitName.TEST, _TEST
    yield SplitName.VAL, _VALIDATION


def _under(manifest: Manifest, split: Split, unit_of: Callable[[str], str]) -> Manifest:
    images = tuple(replace(image, split=split_of(unit_of(image.group), split)) for image in manifest.images)
    return replace(manifest, split_seed=split.seed, images=images)


def _fair(manifest: Manifest, name: SplitName, min_parts: int, least: float, most: float) -> bool:
    of = Counter(image.group for image in manifest.of(name))
    return len(of) >= min_parts and least <= of.total() / len(manifest.images) <= most

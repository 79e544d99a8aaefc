"""Which groups of a dataset are one because they hold near-duplicates, and which split they fall to: a pure rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from components.stores.datasets.manifest import SplitName

MAX_SHARE: Final = Fraction(1, 10)
"""Of the groups, how many may be joined. More are no near-duplicates but photographs that all look alike."""
_STRONGER: Final = (SplitName.TEST, SplitName.VAL, SplitName.TRAIN)


@dataclass(frozen=True, slots=True)
class Merge:
    """splits: group -> its split; name: group -> the first, by name, of the groups that it is one with.

    joined: groups that near-duplicates would make one with another. refused: they were too many, so nothing is merged.
    """

    splits: Mapping[str, SplitName]
    name: Mapping[str, str]
    joined: int
    refused: bool


def merge_groups(splits: Mapping[str, SplitName], links: Iterable[tuple[str, str]]) -> Merge:
    """Groups that are linked, directly or through others, take test if any of them does, else val, else train.

    Where more than a tenth of the groups would be joined, nothing is merged. splits: each group's own split;
    links: pairs of groups that hold near-duplicates of each other; a group linked with itself is as it was.

    Raises:
        KeyError: a link names a group that there is not.
    """
    root = {group: group for group in splits}

    def find(group: str) -> str:
        while root[group] != group:
            root[group] = root[root[group]]
            group = root[group]
        return group

    for one, other in links:
        low, high = sorted((find(one), find(other)))
        root[high] = low
    members: dict[str, list[str]] = {}
    for group in splits:
        members.setdefault(find(group), []).append(group)
    joined = sum(len(together) for together in members.values() if len(together) > 1)
    if joined > MAX_SHARE * len(splits):
        return Merge(dict(splits), {group: group for group in splits}, joined, refused=True)
    merged = dict(splits)
    for together in members.values():
        strongest = min((splits[group] for group in together), key=_STRONGER.index)
        merged.update(dict.fromkeys(together, strongest))
    return Merge(merged, {group: find(group) for group in splits}, joined, refused=False)

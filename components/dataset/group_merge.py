"""A pure rule: groups that contain near-duplicates of each other become one group, in one split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from components.stores.datasets.assignments import STRONGEST_FIRST
from components.stores.datasets.manifest import SplitName

MAX_SHARE: Final = Fraction(1, 10)
"""The largest share of groups that may be joined. If it is more, photographs of different parts look alike."""


@dataclass(frozen=True, slots=True)
class Merge:
    """The result of merging.

    splits: group -> its split. name: group -> the first, by name, of the groups that it was merged with. joined: number
    of groups that near-duplicates join with another, of: of how many. refused: they were too many, so that nothing was
    merged.
    """

    splits: Mapping[str, SplitName]
    name: Mapping[str, str]
    joined: int
    of: int
    refused: bool


def merge_groups(splits: Mapping[str, SplitName], links: Iterable[tuple[str, str]]) -> Merge:
    """Merge groups that are linked, directly or through others; they take test if any has it, else val, else train.

    Where more than a tenth of the groups would be joined, nothing is merged. splits: each group's own split. links:
    pairs of groups that contain near-duplicates of each other; a link of a group with itself changes nothing.

    Raises:
        KeyError: a link names an unknown group.
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
        return Merge(dict(splits), {group: group for group in splits}, joined, len(splits), refused=True)
    merged = dict(splits)
    for together in members.values():
        strongest = min((splits[group] for group in together), key=STRONGEST_FIRST.index)
        merged.update(dict.fromkeys(together, strongest))
    return Merge(merged, {group: find(group) for group in splits}, joined, len(splits), refused=False)

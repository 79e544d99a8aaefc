"""What a first look found, in numbers: all that the proposal depends on. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from components.first_look.pictures import Seen, Unusable
from inspection.picture import problem_of

_BLURRED_BELOW: Final = 0.1
"""A picture with less than this share of the usual sharpness is named as blurred."""
_MOST_NAMED: Final = 3
_GOOD: Final = frozenset({"good", "ok", "pass", "normal", "golden"})
"""Folders of these names hold good parts only."""


@dataclass(frozen=True, slots=True)
class FoundLabels:
    """The labels that lie beside the pictures. file: its name; kind: as in `kizu import <kind>`.

    classes: in the order of their names; defective, good: pictures with and without a box; sides: of each box the
    longer side, as a share of the longer side of its picture, sorted.
    """

    file: str
    kind: str
    classes: tuple[str, ...]
    defective: int
    good: int
    sides: tuple[float, ...]

    def side_at(self, share: float) -> float:
        """The longer side of a box, than which this share of all boxes is shorter. There must be a box."""
        return self.sides[int(share * (len(self.sides) - 1))]


@dataclass(frozen=True, slots=True)
class Findings:
    """A folder as the first look saw it.

    files: that may be pictures; looked: of how many of them; usable: of these, how many can be read. width, height: the
    most frequent size, pixels. sizes: other sizes in the sample. turned: pictures that EXIF turns. grey: pictures
    without colour. parts: different parts by `parts.csv`, 0 without one. repeated: files with the bytes of another.
    alike: pairs of names that show the same again. problems: what is wrong with a picture -> names.
    """

    files: int
    looked: int
    usable: int
    width: int
    height: int
    sizes: Mapping[tuple[int, int], int]
    formats: Mapping[str, int]
    turned: int
    grey: int
    brightness: tuple[float, float, float]
    sharpness: tuple[float, float, float]
    parts: int
    repeated: int
    alike: tuple[tuple[str, str], ...]
    unusable: Mapping[str, tuple[Unusable, ...]] = field(default_factory=dict)
    problems: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    labels: FoundLabels | None = None
    in_good_folders: bool = False

    @property
    def longer(self) -> int:
        """The longer side of a picture, pixels."""
        return max(self.width, self.height)


def findings_of(
    looked: Sequence[Seen | Unusable],
    *,
    files: int,
    alike: Sequence[tuple[str, str]],
    parts: int,
    labels: FoundLabels | None,
) -> Findings:
    """Sum up what was seen. At least one picture must be usable."""
    seen = [item for item in looked if isinstance(item, Seen)]
    sizes = Counter((item.width, item.height) for item in seen)
    (width, height), _ = min(sizes.items(), key=lambda item: (-item[1], item[0]))
    unusable: dict[str, list[Unusable]] = {}
    for item in looked:
        if isinstance(item, Unusable):
            unusable.setdefault(item.reason, []).append(item)
    return Findings(
        files=files,
        looked=len(looked),
        usable=len(seen),
        width=width,
        height=height,
        sizes={size: count for size, count in sorted(sizes.items()) if size != (width, height)},
        formats=dict(sorted(Counter(item.format for item in seen).items())),
        turned=sum(item.orientation != 1 for item in seen),
        grey=sum(item.is_grey for item in seen),
        brightness=_spread([item.measured.brightness for item in seen]),
        sharpness=_spread([item.measured.sharpness for item in seen]),
        parts=parts,
        repeated=len(seen) - len({item.sha256 for item in seen}),
        alike=tuple(alike),
        unusable={reason: tuple(items) for reason, items in sorted(unusable.items())},
        problems=_problems(seen),
        labels=labels,
        in_good_folders=all(_GOOD & {part.lower() for part in item.name.split("/")[:-1]} for item in seen),
    )


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return min(values), median(values), max(values)


def _problems(seen: Sequence[Seen]) -> dict[str, tuple[str, ...]]:
    usual = median(item.measured.sharpness for item in seen)
    found: dict[str, list[str]] = {}
    for item in seen:
        problem = problem_of(item.measured, None)
        if problem is not None:
            found.setdefault(problem.value, []).append(item.name)
        elif item.measured.sharpness < _BLURRED_BELOW * usual:
            found.setdefault("blurred", []).append(item.name)
    return {problem: tuple(names) for problem, names in sorted(found.items())}


def lines_of(found: Findings) -> list[str]:
    """What was found, in sentences for people."""
    part = "all of them" if found.looked == found.files else f"{found.looked} of them, evenly spread"
    lines = [f"{found.files} files; looked at {part}: {found.usable} can be read."]
    for reason, items in found.unusable.items():
        lines.append(f"{len(items)} set aside as {reason}, such as {items[0].name}: {items[0].message}.")
    others = ", ".join(f"{count} of {width} x {height}" for (width, height), count in list(found.sizes.items())[:4])
    formats = ", ".join(f"{count} {name}" for name, count in found.formats.items())
    colour = {0: "in colour", found.usable: "grey"}.get(found.grey, f"{found.grey} of them grey, the others in colour")
    lines.append(
        f"Size {found.width} x {found.height} pixels{f', and {others}' if others else ', all alike'}; {formats}; "
        f"8 bits a channel, {colour}."
    )
    if found.turned:
        lines.append(f"EXIF turns {found.turned} of them. Boxes count on the upright picture.")
    lines.append(
        f"Brightness (0 to 255) {found.brightness[0]:.0f} to {found.brightness[2]:.0f}, in the middle "
        f"{found.brightness[1]:.0f}; sharpness {found.sharpness[0]:.0f} to {found.sharpness[2]:.0f}, in the middle "
        f"{found.sharpness[1]:.0f}."
    )
    for problem, names in found.problems.items():
        lines.append(f"{len(names)} {problem}: {', '.join(names[:_MOST_NAMED])}. Look at them before you label.")
    if found.repeated:
        lines.append(f"{found.repeated} files have the bytes of another one. They count once.")
    if found.parts:
        lines.append(f"parts.csv names {found.parts} parts.")
    if found.alike:
        one, other = found.alike[0]
        lines.append(f"{len(found.alike)} pairs show the same again, such as {one} and {other}.")
    if found.labels is not None:
        lines.append(_labels_line(found.labels, found.longer))
    return lines


def _labels_line(labels: FoundLabels, longer: int) -> str:
    said = f"{labels.file} has {len(labels.sides)} boxes on {labels.defective} pictures"
    if labels.good:
        said += f", and says of {labels.good} pictures that they show no defect"
    if not labels.sides:
        return f"{said}."
    low, middle = (round(labels.side_at(share) * longer) for share in (0.1, 0.5))
    return f"{said}. The longer side of a box: {middle} pixels in the middle; one of ten is shorter than {low}."

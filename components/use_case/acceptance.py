"""The section on what fails a part: acceptance rules, as the tolerances of a drawing say them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.use_case.section import Score, Section
from inspection.acceptance import Acceptance, AcceptanceRule, Severity, When
from inspection.part_view import PartView, Zone

Size = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Corner = Annotated[tuple[float, ...], Field(min_length=2, max_length=2)]


class RuleSection(Section):
    """One rule: what is tolerated of the defects of some classes. A size exactly at its limit is tolerated.

    A rule without a limit tolerates no defect. Sizes are those of the box around a defect: `_px` in pixels of the
    picture, `_mm` in millimetres on the part, which needs the scale of each camera.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
    """The rule's name, its own. Results and reports say it."""
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    """Whose defects it is about. Several classes are counted together."""
    severity: Literal["reject", "rework", "note"] = "reject"
    """What a broken rule means: `reject` and `rework` fail the part, `note` is only told."""
    when: Literal["any", "all"] = "any"
    """`any`: one broken limit breaks the rule. `all`: only all of its limits together do, by the same defects."""
    zone: str | None = None
    """Only defects that touch this zone count."""
    min_score: Score | None = None
    """From which score on a detection is a defect for this rule, where that is above the class's threshold. Below, it
    is a doubt: the part is uncertain."""
    max_longest_side_px: Size | None = None
    """The longer side of one defect, in pixels."""
    max_longest_side_mm: Size | None = None
    """The longer side of one defect, in millimetres."""
    max_area_px2: Size | None = None
    """The area of one defect, in square pixels."""
    max_area_mm2: Size | None = None
    """The area of one defect, in square millimetres."""
    max_total_area_px2: Size | None = None
    """The area of all defects together, in square pixels."""
    max_total_area_mm2: Size | None = None
    """The area of all defects together, in square millimetres."""
    max_count: Annotated[int, Field(ge=0)] | None = None
    """How many defects there may be."""
    min_distance_px: Size | None = None
    """How far apart any two defects must be, in pixels."""
    min_distance_mm: Size | None = None
    """How far apart any two defects must be, in millimetres."""

    def to_rule(self) -> AcceptanceRule:
        """The same rule as a device reads it."""
        values = self.model_dump() | {"severity": Severity(self.severity), "when": When(self.when)}
        return AcceptanceRule(**values)


class ZoneSection(Section):
    """A region of the part: a polygon in part coordinates, x to the right and y down from the part's origin."""

    points: Annotated[tuple[Corner, ...], Field(min_length=3)]
    """The corners `[x, y]`, in their order."""
    unit: Literal["mm", "px"] = "mm"
    """The unit of the corners."""

    def to_zone(self) -> Zone:
        """The same zone as a device reads it."""
        return Zone(points=self.points, unit=self.unit)


class ViewSection(Section):
    """How a camera sees the part in the pictures that models are evaluated on."""

    mm_per_px: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """Millimetres a pixel."""
    origin_px: Corner | None = None
    """Where the part's origin lies, `[x, y]` in pixels of the picture."""
    angle_deg: float = 0.0
    """By how much the part's x axis is turned from the picture's, clockwise as one sees it."""

    def to_view(self) -> PartView:
        """The same as a value."""
        origin = (self.origin_px[0], self.origin_px[1]) if self.origin_px is not None else None
        return PartView(mm_per_px=self.mm_per_px, origin_px=origin, angle_deg=self.angle_deg)


class AcceptanceSection(Section):
    """What fails a part. Without rules, each defect does, and so does each defect of a class that no rule names.

    Evaluation judges labels and detections by the same rules: a part whose labelled defects are all tolerated is good.
    """

    rules: tuple[RuleSection, ...] = ()
    """The rules. Several may be about one class; each is judged by itself."""
    zones: Mapping[str, ZoneSection] = {}
    """The zones that rules name."""
    views: Mapping[str, ViewSection] = {}
    """How cameras see the part in the pictures of the dataset, for rules in millimetres and for zones. The key is a
    pattern of the camera, `<site>/<device> <camera>`, in which `*` stands for any characters; the longest that matches
    holds. A device has its own in its file."""

    @model_validator(mode="after")
    def _can_be_judged(self) -> AcceptanceSection:
        found = Acceptance(
            rules=tuple(rule.to_rule() for rule in self.rules),
            zones={name: zone.to_zone() for name, zone in self.zones.items()},
        )
        in_mm = [rule.name for rule in found.rules if rule.is_in_mm or self._unit(rule) == "mm"]
        in_zones = [rule.name for rule in found.rules if rule.zone is not None]
        views = {pattern: view.to_view() for pattern, view in self.views.items()}
        if (in_mm or in_zones) and "*" not in views:
            raise ValueError(
                f"the rules {', '.join(dict.fromkeys(in_mm + in_zones))} are in millimetres or in a zone, so that "
                'evaluation needs the scale of its pictures: expected acceptance.views with the key "*"'
            )
        for pattern, view in views.items():
            if in_mm and view.mm_per_px is None:
                raise ValueError(f"rule {in_mm[0]} is in millimetres: expected mm_per_px in acceptance.views {pattern}")
            if in_zones and view.origin_px is None:
                raise ValueError(f"rule {in_zones[0]} has a zone: expected origin_px in acceptance.views {pattern}")
            if not math.isfinite(view.angle_deg):
                raise ValueError(f"expected angle_deg of acceptance.views {pattern} as a number, got {view.angle_deg}")
        return self

    def _unit(self, rule: AcceptanceRule) -> str:
        return self.zones[rule.zone].unit if rule.zone is not None else ""

    def to_acceptance(self) -> Acceptance | None:
        """The rules as the part of a release that a device reads; None where there are none."""
        if not self.rules:
            return None
        return Acceptance(
            rules=tuple(rule.to_rule() for rule in self.rules),
            zones={name: zone.to_zone() for name, zone in self.zones.items()},
        )

    def view_of(self, camera: str) -> PartView:
        """How a camera of the dataset, `<site>/<device> <camera>`, sees the part."""
        fitting = sorted((p for p in self.views if fnmatchcase(camera, p)), key=lambda p: (-len(p), p))
        return self.views[fitting[0]].to_view() if fitting else PartView()

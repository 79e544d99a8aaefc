"""Acceptance rules: which defects a part may have, as the tolerances of a drawing say it. Values in, values out.

A rule is about the defects of some classes: the detections from the class's `fail` threshold on. Its limits say what is
tolerated; beyond them the rule is *broken*. A rule without a limit tolerates no defect. A class that no rule names is
judged as without rules: each of its defects rejects the part.

Each rule is read twice. *Surely*: only what is sure counts, that is defects from the `fail` threshold on, at the size
that they have at least. *Possibly*: what may be counts too, that is detections from the `uncertain` threshold on, at
the size that they may have, and each limit that cannot be measured here as broken. A rule that is surely broken
decides; one that is possibly broken makes the part uncertain; any other is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from inspection.codec import LEFT_OUT, Part
from inspection.geometry import Detection
from inspection.part_view import UNKNOWN_VIEW, PartView, Unmeasured, Zone, gap
from inspection.verdict import ClassThreshold, Verdict, decide

_EQUAL: Final = 1e-9
"""As a share: a size that is computed from pixels and a scale may be this much off its limit and still be on it."""


class Severity(StrEnum):
    """What a broken rule means for the part, the gravest first."""

    REJECT = "reject"
    """The part is scrap: its verdict is `fail`."""
    REWORK = "rework"
    """The part can be mended, and must not be shipped as it is: its verdict is `fail` too."""
    NOTE = "note"
    """The part is good, and the finding is told."""


_ORDER: Final = {Severity.REJECT: 0, Severity.REWORK: 1, Severity.NOTE: 2}


class When(StrEnum):
    """How the limits of one rule are combined."""

    ANY = "any"
    """The rule is broken where one of its limits is."""
    ALL = "all"
    """The rule is broken where all of its limits are: those of one defect by the same defects, and those of several by
    the defects that break the limits of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceRule(Part):
    """What is tolerated of the defects of some classes. A size exactly at its limit is tolerated.

    Sizes are those of the box around a defect; `_px` in pixels of the picture, `_mm` in millimetres on the part.
    """

    name: str
    """The rule's name, its own."""
    classes: tuple[str, ...]
    """Whose defects it is about."""
    severity: Severity = Severity.REJECT
    """What it means that the rule is broken."""
    when: When = When.ANY
    """Whether one broken limit breaks the rule, or all together do."""
    zone: str | None = None
    """Only defects that touch this zone count; null: wherever they are."""
    min_score: float | None = None
    """A detection below this score is no defect for this rule, but a doubt; null: the class's `fail` threshold."""
    max_longest_side_px: float | None = None
    """The longer side of one defect."""
    max_longest_side_mm: float | None = None
    """The longer side of one defect."""
    max_area_px2: float | None = None
    """The area of one defect."""
    max_area_mm2: float | None = None
    """The area of one defect."""
    max_total_area_px2: float | None = None
    """The area of all defects together."""
    max_total_area_mm2: float | None = None
    """The area of all defects together."""
    max_count: int | None = None
    """How many defects there may be."""
    min_distance_px: float | None = None
    """How far apart any two defects must be at least, between their nearest points."""
    min_distance_mm: float | None = None
    """How far apart any two defects must be at least, between their nearest points."""

    def __post_init__(self) -> None:
        if not self.name or not self.classes:
            raise ValueError("an acceptance rule needs a name and at least one class")
        for name, value in self.limits():
            if not 0 <= value < math.inf:
                raise ValueError(f"rule {self.name}: expected {name} as a number that is not negative, but got {value}")
        if self.min_score is not None and not 0.0 <= self.min_score <= 1.0:
            raise ValueError(f"rule {self.name}: expected min_score in 0..1, but got {self.min_score}")

    def limits(self) -> Iterator[tuple[str, float]]:
        """The limits that this rule has, by name."""
        for name in LIMITS:
            value = getattr(self, name)
            if value is not None:
                yield name, value

    @property
    def is_in_mm(self) -> bool:
        """Whether a limit is in millimetres."""
        return any(name.endswith(("_mm", "_mm2")) for name, _ in self.limits())

    def unmeasured(self, zone: Zone | None, view: PartView) -> Unmeasured | None:
        """Why this rule cannot be judged in this view; None where it can."""
        if zone is not None and (why := zone.unmeasured(view)) is not None:
            return why
        if self.is_in_mm and view.mm_per_px is None:
            return Unmeasured.OTHER_SIZE if view.is_of_other_size else Unmeasured.NO_SCALE
        return None

    def broken_by(
        self, found: Sequence[Detection], zone: Zone | None, view: PartView, *, surely: bool
    ) -> tuple[Detection, ...]:
        """The defects that break the rule; none where it is kept.

        Args:
            found: the defects of its classes.
            surely: only what is sure counts; else what may be counts too.
        """
        if zone is not None:
            found = [defect for defect in found if zone.touches(defect.box, view, surely=surely)]
        read = _Reading(view, surely)
        of_one = [(name, value) for name, value in self.limits() if name in _OF_ONE]
        of_all = [(name, value) for name, value in self.limits() if name not in _OF_ONE]
        if self.when is When.ALL:
            bad = [d for d in found if all(read.exceeds(name, value, [d]) for name, value in of_one)]
            return tuple(bad) if all(read.exceeds(name, value, bad) for name, value in of_all) else ()
        if not of_one and not of_all:
            return tuple(found)
        if any(read.exceeds(name, value, found) for name, value in of_all):
            return tuple(found)
        return tuple(d for d in found if any(read.exceeds(name, value, [d]) for name, value in of_one))


_OF_ONE: Final = ("max_longest_side_px", "max_longest_side_mm", "max_area_px2", "max_area_mm2")
LIMITS: Final = (
    *_OF_ONE, "max_total_area_px2", "max_total_area_mm2", "max_count", "min_distance_px", "min_distance_mm",
)  # fmt: skip
"""The names of all limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance(Part):
    """The acceptance rules of a product."""

    rules: tuple[AcceptanceRule, ...]
    """The rules; several may be about one class, and each is judged by itself."""
    zones: Mapping[str, Zone] = field(default_factory=dict)
    """The zones of the part, by name."""

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError(f"expected a name of its own for each acceptance rule, but got {names}")
        for rule in self.rules:
            if rule.zone is not None and rule.zone not in self.zones:
                raise ValueError(f"rule {rule.name}: expected one of the zones {sorted(self.zones)}, got {rule.zone!r}")

    def of_classes(self, classes: Iterable[str]) -> tuple[AcceptanceRule, ...]:
        """All rules that judge these classes: the own ones, and for each class without one that it has no defect."""
        named = {name for rule in self.rules for name in rule.classes}
        return (*self.rules, *(AcceptanceRule(name=name, classes=(name,)) for name in classes if name not in named))


class RuleState(StrEnum):
    """What became of a rule that was not kept."""

    BROKEN = "broken"
    """It is surely broken."""
    IN_DOUBT = "in-doubt"
    """It would be broken if a doubted detection were true, or the scale were another within its uncertainty."""
    NOT_JUDGED = "not-judged"
    """It has a limit or a zone that cannot be measured in this picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOutcome(Part):
    """A rule that was not kept."""

    rule: str
    """Its name; a class that no rule names has the name of the class."""
    severity: Severity
    """What a broken rule means."""
    state: RuleState
    """Whether it is broken."""
    reason: str | None = field(default=None, metadata=LEFT_OUT)
    """Why it was not judged: `no-scale`, `no-part-frame` or `other-size`; left out where it was."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a picture, and by which rules.

    outcomes: the gravest first. accusing: the defects that break a rule of severity `reject` or `rework`.
    """

    verdict: Verdict
    outcomes: tuple[RuleOutcome, ...] = ()
    accusing: tuple[Detection, ...] = ()

    @property
    def unmeasured(self) -> str | None:
        """Why the picture is uncertain though the model is sure of what it shows; None where that is not so."""
        if self.verdict is not Verdict.UNCERTAIN:
            return None
        return next((item.reason for item in self.outcomes if item.reason and item.severity is not Severity.NOTE), None)


def severity_of(outcomes: Iterable[RuleOutcome]) -> Severity | None:
    """The gravest severity of the broken rules; None where none is broken."""
    broken = [item.severity for item in outcomes if item.state is RuleState.BROKEN]
    return min(broken, key=_ORDER.__getitem__, default=None)


def judge(
    detections: Iterable[Detection],
    thresholds: Mapping[str, ClassThreshold],
    acceptance: Acceptance | None = None,
    view: PartView = UNKNOWN_VIEW,
) -> Judgement:
    """Judge one picture. A broken rule of severity `reject` or `rework` fails it; a note never does.

    Without rules, the verdict is that of `decide`.

    Raises:
        KeyError: a detection has a class without a threshold. The release is wrong, and a guess would not be safe.
    """
    found = tuple(detections)
    if acceptance is None:
        sure = tuple(d for d in found if d.score >= thresholds[d.class_name].fail)
        return Judgement(decide(found, thresholds), (), sure)
    limits = [thresholds[d.class_name] for d in found]
    outcomes: list[RuleOutcome] = []
    accusing: dict[int, Detection] = {}
    for rule in acceptance.of_classes(thresholds):
        own = [(d, t) for d, t in zip(found, limits, strict=True) if d.class_name in rule.classes]
        zone = acceptance.zones[rule.zone] if rule.zone is not None else None
        sure_defects = [d for d, t in own if d.score >= max(t.fail, rule.min_score or 0.0)]
        broken = rule.broken_by(sure_defects, zone, view, surely=True)
        if broken:
            outcomes.append(RuleOutcome(rule=rule.name, severity=rule.severity, state=RuleState.BROKEN))
            if rule.severity is not Severity.NOTE:
                accusing |= {id(d): d for d in broken}
        elif rule.broken_by([d for d, t in own if d.score >= t.uncertain], zone, view, surely=False):
            why = rule.unmeasured(zone, view)
            state = RuleState.IN_DOUBT if why is None else RuleState.NOT_JUDGED
            outcomes.append(RuleOutcome(rule=rule.name, severity=rule.severity, state=state, reason=why))
    states = {item.state for item in outcomes if item.severity is not Severity.NOTE}
    verdict = Verdict.FAIL if RuleState.BROKEN in states else Verdict.UNCERTAIN if states else Verdict.PASS
    grave = sorted(outcomes, key=lambda item: (item.state is not RuleState.BROKEN, _ORDER[item.severity]))
    return Judgement(verdict, tuple(grave), tuple(accusing.values()))


class _Reading:
    """Compares sizes in one picture with limits: as they surely are, or as they may be."""

    def __init__(self, view: PartView, surely: bool) -> None:
        least, _, most = view.scales() or (None, None, None)
        self._surely = surely
        self._size = least if surely else most
        self._distance = most if surely else least

    def exceeds(self, limit: str, value: float, defects: Sequence[Detection]) -> bool:
        """Whether some defects break a limit. One that cannot be measured may be broken, and is not surely."""
        if limit == "max_count":
            return len(defects) > value
        if limit.startswith("min_distance"):
            boxes = [d.box for d in defects]
            gaps = [gap(a, b) for number, a in enumerate(boxes) for b in boxes[:number]]
            return bool(gaps) and self._compare(min(gaps), limit, value, self._distance, power=1, below=True)
        if not defects:
            return False
        if "area" in limit:
            return self._compare(sum(d.box.area for d in defects), limit, value, self._size, power=2)
        side = max(max(d.box.width, d.box.height) for d in defects)
        return self._compare(side, limit, value, self._size, power=1)

    def _compare(
        self, found: float, limit: str, value: float, scale: float | None, *, power: int, below: bool = False
    ) -> bool:
        if not limit.endswith(("_px", "_px2")):
            if scale is None:
                return not self._surely
            found *= scale**power
        return found < value * (1 - _EQUAL) if below else found > value * (1 + _EQUAL)

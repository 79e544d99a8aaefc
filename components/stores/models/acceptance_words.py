"""Acceptance rules in words, for the model card and the report page."""

from __future__ import annotations

from typing import Final

from inspection.acceptance import Acceptance, AcceptanceRule, When

HEAD: Final = ("Acceptance rule", "Classes", "Severity", "Tolerated")
_WORDS: Final = {
    "max_longest_side": "longest side up to {} {}",
    "max_area": "area up to {} {}",
    "max_total_area": "area of all together up to {} {}",
    "min_distance": "at least {} {} apart",
}
_UNITS: Final = {"px": "px", "mm": "mm", "px2": "px²", "mm2": "mm²"}


def rows(acceptance: Acceptance, classes: tuple[str, ...]) -> list[tuple[str, str, str, str]]:
    """One row for each rule, with the columns of `HEAD`; a class that no rule names has one too."""
    return [
        (rule.name, ", ".join(rule.classes), str(rule.severity), _tolerated(rule))
        for rule in acceptance.of_classes(classes)
    ]


def _tolerated(rule: AcceptanceRule) -> str:
    said = []
    for name, value in rule.limits():
        if name == "max_count":
            said.append(f"up to {value:g} defect{'' if value == 1 else 's'}")
            continue
        kind, _, unit = name.rpartition("_")
        said.append(_WORDS[kind].format(f"{value:g}", _UNITS[unit]))
    text = (" and " if rule.when is When.ANY else " or ").join(said) or "no defect"
    where = f", in the zone {rule.zone}" if rule.zone is not None else ""
    score = f", scores from {rule.min_score:g} on" if rule.min_score is not None else ""
    return text + where + score

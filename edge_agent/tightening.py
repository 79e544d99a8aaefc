"""A device's own, stricter acceptance rules. A device may tighten what its release says, and never loosen it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from inspection.acceptance import LIMITS, Acceptance, AcceptanceRule, When


@dataclass(frozen=True, slots=True)
class Tightening:
    """What a device asks of the acceptance rules of its release.

    factor: each length, and each square root of an area, may be this share of what the release says, above 0 and up to
    1; distances must be so many times larger. rules: name of a rule -> name of a limit -> its value here.
    """

    factor: float = 1.0
    rules: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 < self.factor <= 1.0:
            raise ValueError(f"expected a factor above 0 and up to 1, because it may only tighten, got {self.factor}")
        for rule, limits in self.rules.items():
            for name, value in limits.items():
                if name not in LIMITS:
                    raise ValueError(f"rule {rule}: expected one of {', '.join(LIMITS)}, but got {name!r}")
                if not 0 <= value < math.inf:
                    raise ValueError(f"rule {rule}: expected {name} as a number that is not negative, got {value}")

    def of(self, acceptance: Acceptance | None) -> tuple[Acceptance | None, tuple[str, ...]]:
        """The rules as they hold on this device, and in words what was asked and does not hold.

        Where the release is stricter than the device asks, the release holds.
        """
        asked = [f"{rule}.{name}" for rule, limits in self.rules.items() for name in limits]
        if acceptance is None:
            return None, tuple(f"acceptance_tighten {name}: the release has no acceptance rules" for name in asked)
        known = {rule.name for rule in acceptance.rules}
        refused = [
            f"acceptance_tighten {rule}: the release has no such rule; it has {', '.join(sorted(known))}"
            for rule in self.rules
            if rule not in known
        ]
        rules = []
        for rule in acceptance.rules:
            changes: dict[str, Any] = {name: self._by_factor(name, value) for name, value in rule.limits()}
            for name, value in self.rules.get(rule.name, {}).items():
                why = _would_loosen(rule, name, value)
                if why:
                    refused.append(f"acceptance_tighten {rule.name}.{name} {value:g} would loosen: {why}")
                    continue
                stricter = max if name.startswith("min_") else min
                changes[name] = stricter(value, changes[name]) if name in changes else value
            if "max_count" in changes:
                changes["max_count"] = int(changes["max_count"])
            rules.append(replace(rule, **changes))
        return replace(acceptance, rules=tuple(rules)), tuple(refused)

    def _by_factor(self, name: str, value: float) -> float:
        if name == "max_count":
            return value
        if name.startswith("min_"):
            return value / self.factor
        return value * self.factor ** (2 if "area" in name else 1)


NOT_TIGHTENED: Final = Tightening()


def _would_loosen(rule: AcceptanceRule, name: str, value: float) -> str:
    """Why a limit would tolerate more than the rule does; '' where it would not."""
    has = dict(rule.limits())
    if name in has:
        looser = value < has[name] if name.startswith("min_") else value > has[name]
        return f"the release says {has[name]:g}" if looser else ""
    if not has:
        return "the rule of the release tolerates no defect"
    if rule.when is When.ALL:
        return "the rule of the release is broken by all of its limits together, and one more would break it less often"
    return ""

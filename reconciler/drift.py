"""Whether a line still shows what its release learned from: a rule over counts, without I/O.

Each device, class and quantity is one comparison of two histograms: the release's reference and a full window of the
device; for shares of verdicts, the first full window and a later one. A comparison *differs* in a window where both
hold:

- it is significant: a chi-square test of homogeneity and a Kolmogorov-Smirnov test on the bins (the smaller p-value,
  doubled for the choice), after Benjamini and Hochberg's correction over all comparisons of all devices, at `ALPHA`;
- it is large: a population stability index (PSI) of `LEAST_PSI` or more, less what chance alone gives so few values.

A comparison that differs in the two latest windows is an *alert*; in the latest alone, it is *watched*. Nothing follows
from an alert by itself but what people read: a training needs labels, and people give them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, kolmogorov

from inspection.drift import (
    BINS,
    BRIGHTNESS_EDGES,
    SCORE_EDGES,
    SHARPNESS_EDGES,
    SIZE_EDGES,
    DriftReference,
    LineWindow,
    LineWindows,
    median,
)
from inspection.verdict import Verdict

ALPHA: Final = 0.01
"""At most this share of the comparisons that are called significant is so by chance."""
LEAST_PSI: Final = 0.2
"""Below, a difference is small enough to live with, however sure it is."""
LEAST_VALUES: Final = 30
"""With fewer values on either side nothing is said."""
_LEAST_EXPECTED: Final = 5.0
SCHEMA_VERSION: Final = 1


class Quantity(StrEnum):
    """What is compared."""

    SCORE = "score"
    SIZE = "box-size"
    BRIGHTNESS = "brightness"
    SHARPNESS = "sharpness"
    VERDICTS = "verdicts"
    """The shares of pass, uncertain and fail, against those in the first window of the release on this device."""


class State(StrEnum):
    """How one comparison stands."""

    ALERT = "alert"
    WATCHED = "watched"
    STEADY = "steady"
    TOO_FEW = "too-few"
    NO_REFERENCE = "no-reference"


ADVICE: Final = {
    Quantity.SCORE: "the model is surer or less sure than on its validation split: have this device's images labelled",
    Quantity.SIZE: "look at the camera's distance and zoom; then have this device's images labelled",
    Quantity.BRIGHTNESS: "look at the lamp, the exposure and the lens; then have this device's images labelled",
    Quantity.SHARPNESS: "look at the focus, the lens and what shakes; then have this device's images labelled",
    Quantity.VERDICTS: "look at the parts and at the pictures behind the verdicts: either the production has changed, "
    "or what the camera sees",
}
"""What a person should do about an alert."""
_EDGES: Final = {
    Quantity.SCORE: SCORE_EDGES,
    Quantity.SIZE: SIZE_EDGES,
    Quantity.BRIGHTNESS: BRIGHTNESS_EDGES,
    Quantity.SHARPNESS: SHARPNESS_EDGES,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two histograms lie apart. psi: less what chance gives. ks: 0..1. p: of no difference, 0..1."""

    psi: float
    ks: float
    p: float

    @property
    def counts(self) -> bool:
        """Whether it is significant and large."""
        return self.p <= ALPHA and self.psi >= LEAST_PSI


@dataclass(frozen=True, slots=True)
class Comparison:
    """One device, class and quantity. class_name: '' for a quantity of the whole picture.

    from_median, to_median: about the medians of the reference and of the latest window; of verdicts, the share of
    frames that did not pass, 0..1. since: the begin of the former of the two latest windows. values: how many the
    latest window has. latest, former: of the two latest windows; None where that one has too few values.
    """

    device: str
    use_case: str
    release_digest: str
    quantity: Quantity
    class_name: str
    state: State
    reason: str
    until: datetime | None = None
    since: datetime | None = None
    values: int = 0
    from_median: float | None = None
    to_median: float | None = None
    latest: Difference | None = None
    former: Difference | None = None

    @property
    def advice(self) -> str:
        """What a person should do; '' where there is no alert."""
        return ADVICE[self.quantity] if self.state is State.ALERT else ""

    def to_value(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "device": self.device,
            "use_case": self.use_case,
            "release_digest": self.release_digest,
            "class": self.class_name or None,
            "quantity": str(self.quantity),
            "state": str(self.state),
            "reason": self.reason,
            "advice": self.advice,
            "until": self.until.isoformat() if self.until else None,
            "values": self.values,
            "from_median": self.from_median,
            "to_median": self.to_median,
            "psi": self.latest.psi if self.latest else None,
            "ks": self.latest.ks if self.latest else None,
            "p": self.latest.p if self.latest else None,
        }


def judge_drift(
    lines: Iterable[LineWindows], references: Mapping[str, DriftReference | None]
) -> tuple[Comparison, ...]:
    """Compare each device's windows with the reference of their release.

    Args:
        lines: what devices tell.
        references: by the digest of a release; None for one that has no reference.

    Returns:
        All comparisons, those of a device together, in the order of `lines`.
    """
    found = [one for line in lines for one in _of_line(line, references.get(line.release_digest))]
    latest = _corrected([one.latest for one in found])
    former = _corrected([one.former for one in found])
    return tuple(_judged(replace(one, latest=a, former=b)) for one, a, b in zip(found, latest, former, strict=True))


def difference(reference: Sequence[int], window: Sequence[int]) -> Difference:
    """How far a window lies from its reference. Both have values, in the same bins; `p` is not corrected yet."""
    both = np.array([reference, window], dtype=np.float64)
    sizes = both.sum(axis=1)
    steps = np.cumsum(both / sizes[:, None], axis=1)
    ks = float(np.abs(steps[0] - steps[1]).max())
    merged = _merged(both, sizes)
    if merged.shape[1] < 2:
        return Difference(0.0, ks, 1.0)
    shares = (merged + 0.5) / (sizes + 0.5 * merged.shape[1])[:, None]
    psi = float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())
    by_chance = (merged.shape[1] - 1) * float((1.0 / sizes).sum())
    expected = merged.sum(axis=0) * sizes[:, None] / sizes.sum()
    p_bins = float(chdtrc(merged.shape[1] - 1, ((merged - expected) ** 2 / expected).sum()))
    p_ks = float(kolmogorov(ks * np.sqrt(sizes.prod() / sizes.sum())))
    return Difference(max(0.0, psi - by_chance), ks, min(1.0, 2.0 * min(p_bins, p_ks)))


def _merged(both: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same counts in fewer bins: neighbours are joined until each expects enough values in the smaller sample."""
    expected = (both / sizes[:, None]).mean(axis=0) * sizes.min()
    groups: list[list[int]] = [[]]
    for place in range(both.shape[1]):
        groups[-1].append(place)
        if expected[groups[-1]].sum() >= _LEAST_EXPECTED:
            groups.append([])
    rest = groups.pop()
    if groups:
        groups[-1] += rest
    return np.stack([both[:, group].sum(axis=1) for group in groups or [rest]], axis=1)


def _of_line(line: LineWindows, reference: DriftReference | None) -> list[Comparison]:
    latest = line.windows[-1] if line.windows else None
    former = line.windows[-2] if len(line.windows) > 1 else None
    names = {name for window in line.windows for name in window.detections.scores}
    names |= set(reference.detections.scores) if reference else set()
    wanted = [(Quantity.BRIGHTNESS, ""), (Quantity.SHARPNESS, "")]
    wanted += [(quantity, name) for name in sorted(names) for quantity in (Quantity.SCORE, Quantity.SIZE)]
    found = [_compared(line, reference, latest, former, quantity, name) for quantity, name in wanted]
    return found if line.first is None else [*found, _of_verdicts(line, line.first)]


def _of_verdicts(line: LineWindows, first: LineWindow) -> Comparison:
    """The verdicts of the latest windows beside those of the first one, which is no later window itself."""
    before = _verdicts(first)
    later = [window for window in line.windows if window.since > first.since]
    one = Comparison(
        line.device, line.use_case, line.release_digest, Quantity.VERDICTS, "", State.STEADY, "",
        until=line.windows[-1].until if line.windows else None, since=later[-2].since if len(later) > 1 else None,
        from_median=_not_passed(before),
    )  # fmt: skip
    if not later:
        return replace(one, state=State.TOO_FEW, reason="no window after the first one is there yet")
    counts = [_verdicts(window) for window in later]
    one = replace(one, values=sum(counts[-1]), to_median=_not_passed(counts[-1]))
    if min(sum(before), sum(counts[-1])) < LEAST_VALUES:
        return replace(one, state=State.TOO_FEW, reason=f"a window has fewer than {LEAST_VALUES} frames")
    return replace(
        one,
        latest=difference(before, counts[-1]),
        former=difference(before, counts[-2]) if len(counts) > 1 and sum(counts[-2]) >= LEAST_VALUES else None,
    )


def _verdicts(window: LineWindow) -> tuple[int, ...]:
    """Frames from the best verdict to the worst, so that the test on steps has an order."""
    found = window.detections.verdicts
    return tuple(found.get(verdict, 0) for verdict in (Verdict.PASS, Verdict.UNCERTAIN, Verdict.FAIL))


def _not_passed(counts: Sequence[int]) -> float | None:
    return sum(counts[1:]) / sum(counts) if sum(counts) else None


def _compared(
    line: LineWindows,
    reference: DriftReference | None,
    latest: LineWindow | None,
    former: LineWindow | None,
    quantity: Quantity,
    name: str,
) -> Comparison:
    """The comparison before the correction: STEADY stands for *to be judged*."""
    edges = _EDGES[quantity]
    before = _counts(reference, quantity, name)
    now, then = _counts(latest, quantity, name), _counts(former, quantity, name)
    one = Comparison(
        line.device, line.use_case, line.release_digest, quantity, name, State.STEADY, "",
        until=latest.until if latest else None, since=former.since if former else None, values=sum(now or ()),
        from_median=median(before, edges) if before else None, to_median=median(now, edges) if now else None,
    )  # fmt: skip
    if before is None:
        return replace(one, state=State.NO_REFERENCE, reason="the release does not say what it learned from")
    if now is None:
        return replace(one, state=State.TOO_FEW, reason="the device has told no full window that can be compared")
    for what, counts in (("reference", before), ("window", now)):
        if sum(counts) < LEAST_VALUES:
            return replace(
                one, state=State.TOO_FEW, reason=f"the {what} has {sum(counts)} values, of {LEAST_VALUES} at least"
            )
    return replace(
        one,
        latest=difference(before, now),
        former=difference(before, then) if then and sum(then) >= LEAST_VALUES else None,
    )


def _counts(side: DriftReference | LineWindow | None, quantity: Quantity, name: str) -> tuple[int, ...] | None:
    """The counts of one side; None where it has none, or in bins that are not those of this program."""
    if side is None:
        return None
    if quantity in (Quantity.BRIGHTNESS, Quantity.SHARPNESS):
        if side.pictures is None or side.pictures.bins != BINS:
            return None
        return side.pictures.brightness if quantity is Quantity.BRIGHTNESS else side.pictures.sharpness
    if side.detections.bins != BINS:
        return None
    found = side.detections.scores if quantity is Quantity.SCORE else side.detections.sizes
    return found.get(name, (0,) * (len(_EDGES[quantity]) + 1))


def _corrected(found: Sequence[Difference | None]) -> list[Difference | None]:
    """The same with p-values after Benjamini and Hochberg's correction."""
    known = [one for one in found if one is not None]
    if not known:
        return list(found)
    corrected = iter(corrected_for_many([one.p for one in known]))
    return [None if one is None else replace(one, p=next(corrected)) for one in found]


def corrected_for_many(p: Sequence[float]) -> list[float]:
    """P-values after Benjamini and Hochberg's correction (1995): for each, the smallest share of false discoveries at
    which it would still be called significant.

    `scipy.stats.false_discovery_control` gives the same. Importing it takes longer than a pass of the reconciler.
    """
    order = np.argsort(p, kind="stable")[::-1]
    scaled = np.asarray(p, dtype=np.float64)[order] * len(p) / np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.minimum.accumulate(scaled), 1.0)
    found: list[float] = corrected.tolist()
    return found


def _judged(one: Comparison) -> Comparison:
    if one.latest is None or not one.latest.counts:
        return one
    if one.former is not None and one.former.counts:
        return replace(one, state=State.ALERT, reason="it differs in the two latest windows")
    return replace(one, state=State.WATCHED, reason="it differs in the latest window; the next one decides")

"""The order in which people get images: active learning as rules over values.

1. Images that an operator objected to, newest first.
2. Images that models are unsure of: first those on which two releases disagree, then by how near a score lies to the
   threshold.
3. The rest, newest day first.

In 2 and 3 a share of the places goes to images of lines that drift, in the same order among themselves: a model has not
learned from what they show now. It is a share of any number of places, so that they never hide the others.

In 2 and 3 a share of the places goes to images chosen by chance. Chance depends on sha256 and use case, so every run
chooses the same ones. Without that share, the labels would show only what a model doubts, and the next model would
learn a distorted picture of the line. The share is spread evenly, so a caller that takes only the first images gets it
too.

Images above a cap, of one part or of one hour of capture, come after all others; images whose boxes wait for the
verifier come last.

Only Captures tell why an image was sent, and there may be a million of them. `shortlist` therefore chooses by keys
alone which Captures to read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from heapq import nsmallest
from itertools import chain, islice
from typing import Final

from components.labeling.texts import TEXTS, Texts
from components.stores.raw_images.images import RawImage
from components.use_case import UseCase
from inspection.documents import Capture, Reason
from inspection.drifting import DriftingLine
from inspection.verdict import Verdict

# The share of a shortlist that is chosen by chance, so that old images are not always hidden by newer ones.
_SHORTLISTED_BY_CHANCE: Final = 0.25
# At most this share goes to lines that drift before the newest images of all lines.
_SHORTLISTED_BY_DRIFT: Final = 0.25


@dataclass(frozen=True, slots=True)
class LabelingCandidate:
    """An image without an approved label. captures: by time; waiting: its boxes wait for the verifier."""

    image: RawImage
    captures: tuple[Capture, ...]
    group: str
    waiting: bool = False

    @property
    def hour(self) -> str | None:
        """The hour (UTC) of its first Capture; None without a Capture."""
        return f"{self.captures[0].captured_at.astimezone(UTC):%Y-%m-%d %H}" if self.captures else None


@dataclass(frozen=True, slots=True)
class Placed:
    """A candidate at its place in the order. why: for a person, in the language of the use case."""

    candidate: LabelingCandidate
    why: str


@dataclass(frozen=True, slots=True)
class _Doubt:
    """disagreement: sorted before any score; nearness: 1 at the threshold, 0 as far from it as a score can be."""

    disagreement: bool
    nearness: float
    why: str


def shortlist(
    images: Sequence[str],
    waiting: frozenset[str],
    several: frozenset[str],
    use_case: str,
    size: int,
    drifting: frozenset[str] = frozenset(),
) -> list[int]:
    """Choose at most `size` images whose Captures should be read, by their keys alone; returns their places.

    An image has several Captures after an objection or a disagreement, so these images come first. Then come those of
    devices whose line drifts, at most a quarter, then the newest ones. A quarter is chosen by chance. Images that wait
    for the verifier come last.

    Args:
        images: sha256 of all candidates, unseen before waiting, newest first.
        waiting: sha256 of those that wait for the verifier.
        several: sha256 of images with several Captures.
        use_case: its name; each use case has its own chance.
        size: how many at most.
        drifting: sha256 of images of devices whose line drifts.
    """
    if len(images) <= size:
        return list(range(len(images)))
    salt = _salt(use_case)
    by_chance = int(size * _SHORTLISTED_BY_CHANCE)
    told = (place for place, sha256 in enumerate(images) if sha256 in several and sha256 not in waiting)
    drifts = (place for place, sha256 in enumerate(images) if sha256 in drifting and sha256 not in waiting)
    of_drift = islice(drifts if drifting else (), int(size * _SHORTLISTED_BY_DRIFT))
    chosen: dict[int, None] = {}
    for place in chain(told, of_drift, range(len(images))):
        if len(chosen) == size - by_chance:
            break
        chosen[place] = None
    left = (place for place in range(len(images)) if place not in chosen)
    rank = nsmallest(by_chance, left, key=lambda place: (images[place] in waiting, _chance(images[place], salt)))
    return [*chosen, *rank]


def in_order(
    candidates: Iterable[LabelingCandidate],
    use_case: UseCase,
    thresholds: Mapping[str, float] | None = None,
    drifting: Sequence[DriftingLine] = (),
) -> list[Placed]:
    """Every candidate once, in the order that the top of this module describes: the same for the same candidates.

    Args:
        candidates: in any order.
        use_case: its `labeling.priority` has the shares and caps.
        thresholds: class -> the score from which the champion calls a part defective. A class without a threshold
            gets the middle of the use case's band of uncertainty.
        drifting: the lines that drift.
    """
    policy, texts = use_case.labeling.priority, TEXTS[use_case.labeling.language]
    unseen: list[LabelingCandidate] = []
    waiting: list[LabelingCandidate] = []
    for candidate in candidates:
        (waiting if candidate.waiting else unseen).append(candidate)
    objections: list[Placed] = []
    doubted: list[tuple[_Doubt, LabelingCandidate]] = []
    rest: list[LabelingCandidate] = []
    for candidate in sorted(unseen, key=lambda candidate: _newest(candidate.image)):
        if any(capture.reason is Reason.OBJECTION for capture in candidate.captures):
            objections.append(Placed(candidate, texts.objection))
        elif found := _doubt(candidate.captures, use_case, thresholds or {}, texts):
            doubted.append((found, candidate))
        else:
            rest.append(candidate)
    doubted.sort(key=lambda pair: (not pair[0].disagreement, -pair[0].nearness))  # stable: newest first among equals
    line = [Placed(candidate, found.why) for found, candidate in doubted]
    line += [Placed(candidate, texts.newest) for candidate in rest]
    line = _mixed(line, policy.drift_share, _of_drift(line, drifting, texts))
    mixed = _mixed(line, policy.random_share, _by_chance(line, _salt(use_case.name), texts))
    last = [Placed(candidate, texts.waiting) for candidate in sorted(waiting, key=lambda c: _newest(c.image))]
    return _capped([*objections, *mixed], policy.max_per_group, policy.max_per_hour, texts) + last


def _doubt(
    captures: Sequence[Capture], use_case: UseCase, thresholds: Mapping[str, float], texts: Texts
) -> _Doubt | None:
    verdicts = {capture.release_digest: capture.verdict for capture in captures if capture.release_digest}
    differ = len({verdict for verdict in verdicts.values() if verdict is not None}) > 1
    if differ or any(capture.reason is Reason.DISAGREEMENT for capture in captures):
        return _Doubt(True, 1.0, texts.disagreement)
    policy = use_case.sampling
    middle = (policy.uncertain_low + policy.uncertain_high) / 2
    best: _Doubt | None = None
    for capture in captures:
        unsure = capture.reason is Reason.UNCERTAIN or capture.verdict is Verdict.UNCERTAIN
        for detection in capture.detections:
            if not unsure and not policy.uncertain_low <= detection.score <= policy.uncertain_high:
                continue
            threshold = thresholds.get(detection.class_name, middle)
            nearness = 1.0 - abs(detection.score - threshold) / max(threshold, 1.0 - threshold)
            if best is None or nearness > best.nearness:
                why = texts.near_threshold.format(name=detection.class_name, score=detection.score, threshold=threshold)
                best = _Doubt(False, nearness, why)
        if unsure and best is None:
            best = _Doubt(False, 0.0, texts.uncertain)
    return best


def _of_drift(line: Sequence[Placed], drifting: Sequence[DriftingLine], texts: Texts) -> list[Placed]:
    """Those of the order that show a line that drifts, in the same order."""
    if not drifting:
        return []
    return [
        Placed(placed.candidate, texts.drift.format(why=placed.why))
        for placed in line
        if any(_shows(placed.candidate, drift) for drift in drifting)
    ]


def _shows(candidate: LabelingCandidate, line: DriftingLine) -> bool:
    if not candidate.captures:
        end_of_day = datetime.combine(candidate.image.day, time.max, UTC)
        return line.shows_in(candidate.image.device, end_of_day, ())
    return any(
        line.shows_in(capture.device, capture.captured_at, {found.class_name for found in capture.detections})
        for capture in candidate.captures
    )


def _by_chance(line: Sequence[Placed], salt: int, texts: Texts) -> list[Placed]:
    """The order by chance."""
    chosen = sorted(line, key=lambda placed: _chance(placed.candidate.image.sha256, salt))
    return [Placed(placed.candidate, texts.chance) for placed in chosen]


def _mixed(line: Sequence[Placed], share: float, preferred: Iterable[Placed]) -> list[Placed]:
    """The order with a share of its places given to the preferred ones of it, spread evenly, while there are some."""
    first, in_turn = iter(preferred), iter(line)
    taken: set[str] = set()
    mixed: list[Placed] = []
    given = 0
    while len(mixed) < len(line):
        due = int((len(mixed) + 1) * share + 1e-9) > given
        given += due
        sources = chain(first, in_turn) if due else in_turn
        placed = next(item for item in sources if item.candidate.image.sha256 not in taken)
        taken.add(placed.candidate.image.sha256)
        mixed.append(placed)
    return mixed


def _capped(line: Sequence[Placed], max_per_group: int, max_per_hour: int, texts: Texts) -> list[Placed]:
    """Move the images above a cap behind all others; both groups keep their order."""
    of_group: Counter[str] = Counter()
    of_hour: Counter[str] = Counter()
    kept: list[Placed] = []
    held: list[Placed] = []
    for placed in line:
        group, hour = placed.candidate.group, placed.candidate.hour
        if of_group[group] >= max_per_group:
            held.append(Placed(placed.candidate, texts.enough_of_group.format(why=placed.why)))
        elif hour is not None and of_hour[hour] >= max_per_hour:
            held.append(Placed(placed.candidate, texts.enough_of_hour.format(why=placed.why)))
        else:
            of_group[group] += 1
            if hour is not None:
                of_hour[hour] += 1
            kept.append(placed)
    return kept + held


def _newest(image: RawImage) -> tuple[int, str]:
    return -image.day.toordinal(), image.sha256


def _salt(use_case: str) -> int:
    return int(hashlib.sha256(use_case.encode()).hexdigest()[:16], 16)


def _chance(sha256: str, salt: int) -> int:
    # A sha256 is uniformly distributed; the salt gives each use case an order of its own.
    return int(sha256[:16], 16) ^ salt

"""Compares what a runtime detects on a golden sample with what the release says that it should detect.

The device compares before it activates a release. Evaluation compares for each model that a release may carry.
"""

from __future__ import annotations

from collections.abc import Sequence

from inspection.documents import Tolerance
from inspection.geometry import Detection


def difference(
    got: Sequence[Detection], expected: Sequence[Detection], tolerance: Tolerance, score_floor: float
) -> str | None:
    """The first difference, in words; None where the detections agree within the tolerance.

    Each expected detection needs a partner of its own: the same class, and score and all four sides within the
    tolerance. A detection whose score minus the tolerance is below the floor may be there or not.

    Args:
        score_floor: the score from which on the expected detections were recorded.
    """
    left = list(got)
    for wanted in expected:
        partner = next((found for found in left if _matches(found, wanted, tolerance)), None)
        if partner is not None:
            left.remove(partner)
        elif wanted.score - tolerance.score > score_floor:
            return f"expected {_words(wanted)}, but got {[_words(found) for found in left] or 'nothing like it'}"
    for found in left:
        if found.score - tolerance.score > score_floor:
            return f"expected no more than {len(expected)} detections, but got also {_words(found)}"
    return None


def _matches(found: Detection, wanted: Detection, tolerance: Tolerance) -> bool:
    if found.class_name != wanted.class_name or abs(found.score - wanted.score) > tolerance.score:
        return False
    sides = zip(found.box.xyxy, wanted.box.xyxy, strict=True)
    return all(abs(a - b) <= tolerance.box_px for a, b in sides)


def _words(found: Detection) -> str:
    x1, y1, x2, y2 = found.box.xyxy
    return f"{found.class_name} {found.score:.3f} at ({x1:.0f}, {y1:.0f}, {x2:.0f}, {y2:.0f})"

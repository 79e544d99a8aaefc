"""Golden samples: test images whose answers a healthy runtime must reproduce."""

from __future__ import annotations

from collections.abc import Sequence

from components.evaluation.metrics import Scored


def choose(images: Sequence[Scored], *, most: int = 4) -> list[int]:
    """Indices of a clear defect, a faint one, a good part and a hard good part, where there are such."""
    bad = [index for index, image in enumerate(images) if image.labels]
    good = [index for index, image in enumerate(images) if not image.labels]

    def top(index: int) -> float:
        return max((d.score for d in images[index].detections), default=0.0)

    bad.sort(key=top)
    good.sort(key=top)
    wanted = ([bad[-1], bad[len(bad) // 2]] if bad else []) + ([good[0], good[-1]] if good else [])
    return list(dict.fromkeys(wanted))[:most]

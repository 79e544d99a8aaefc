"""`python -m tools.guides.boxes`: draws good and bad boxes on generated parts, as the labeler's page shows them.

Each picture is a row of panels. A green frame with a tick shows how to draw a box, a red frame with a cross how not to.
The pictures contain no words, so the pages in both languages use the same ones. The same code writes the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from components.generated_parts.photographs import LineGenerator
from inspection.geometry import Box
from tools.guides.browser import IMAGES

Picture = NDArray[np.uint8]

_LINE: Final = LineGenerator(seed=11, photographs_per_part=1)
_GOOD_BGR: Final = (58, 140, 46)
_BAD_BGR: Final = (40, 40, 198)
_BOX_BGR: Final = (46, 87, 228)  # #e4572e, the colour of `scratch` in use_cases/metal-tag.yaml
_PANEL: Final = (330, 220)
_BORDER_PX: Final = 6
_GAP_PX: Final = 10


@dataclass(frozen=True, slots=True)
class Panel:
    """One part with boxes. view, boxes: pixels of the part's photograph; view has the proportions of a panel."""

    part: int
    view: Box
    boxes: tuple[Box, ...]
    good: bool


def labels(part: int) -> tuple[Box, ...]:
    """Return the exact boxes of a part's scratches, from left to right."""
    return tuple(sorted((label.box for label in _LINE.part(part)[0].boxes), key=lambda box: box.x))


def row(panels: Sequence[Panel]) -> Picture:
    """Draw the panels beside each other. Returns (height, width, 3) uint8 BGR."""
    drawn = [_draw(panel) for panel in panels]
    gap = np.full((drawn[0].shape[0], _GAP_PX, 3), 255, np.uint8)
    pieces = [piece for panel in drawn for piece in (panel, gap)][:-1]
    return np.asarray(np.hstack(pieces), np.uint8)


def _draw(panel: Panel) -> Picture:
    photograph = cv2.imdecode(np.frombuffer(_LINE.part(panel.part)[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert photograph is not None
    width, height = _PANEL
    scale = width / panel.view.width
    shift = np.array([[scale, 0, -panel.view.x * scale], [0, scale, -panel.view.y * scale]])
    image = cv2.warpAffine(photograph, shift, _PANEL, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    for box in panel.boxes:
        x1, y1, x2, y2 = box.xyxy
        corners = [
            (round((x - panel.view.x) * scale), round((y - panel.view.y) * scale)) for x, y in ((x1, y1), (x2, y2))
        ]
        cv2.rectangle(image, corners[0], corners[1], _BOX_BGR, 2, cv2.LINE_AA)
    colour = _GOOD_BGR if panel.good else _BAD_BGR
    cv2.rectangle(image, (0, 0), (width - 1, height - 1), colour, _BORDER_PX * 2)
    _mark(image, panel.good, colour)
    return np.asarray(image, np.uint8)


def _mark(image: MatLike, good: bool, colour: tuple[int, int, int]) -> None:
    """Draw a white tick or cross on a disc in the upper left corner."""
    cv2.circle(image, (27, 27), 20, colour, -1, cv2.LINE_AA)
    strokes = (((18, 28), (25, 35)), ((25, 35), (37, 19))) if good else (((19, 19), (35, 35)), ((35, 19), (19, 35)))
    for start, end in strokes:
        cv2.line(image, start, end, (255, 255, 255), 4, cv2.LINE_AA)


def _around(box: Box, width: float) -> Box:
    """Return a view of this width, with the proportions of a panel and the box in its middle."""
    height = width * _PANEL[1] / _PANEL[0]
    return Box(box.x + box.width / 2 - width / 2, box.y + box.height / 2 - height / 2, width, height)


def _grown(box: Box, left: float, top: float, right: float, bottom: float) -> Box:
    return Box(box.x - left, box.y - top, box.width + left + right, box.height + top + bottom)


def pictures() -> dict[str, Picture]:
    """Draw all pictures. Returns file name -> picture."""
    (one,) = labels(5)
    near = _around(one, 230)
    upper, lower = sorted(labels(23), key=lambda box: box.y)
    both = Box.from_xyxy(
        min(upper.x, lower.x), upper.y, max(upper.xyxy[2], lower.xyxy[2]), max(upper.xyxy[3], lower.xyxy[3])
    )
    pair = _around(both, 230)
    whole = Box(0, 0, 450, 300)
    return {
        "box-tight.jpg": row(
            [
                Panel(5, near, (_grown(one, 1, 1, 1, 1),), good=True),
                Panel(5, near, (_grown(one, 32, 22, 44, 20),), good=False),
                Panel(5, near, (_grown(one, -12, -24, -10, -16),), good=False),
            ]
        ),
        "box-each.jpg": row(
            [
                Panel(23, pair, (_grown(upper, 1, 1, 1, 1), _grown(lower, 1, 1, 1, 1)), good=True),
                Panel(23, pair, (_grown(both, 2, 2, 2, 2),), good=False),
                Panel(23, pair, (_grown(upper, 1, 1, 1, 1),), good=False),
            ]
        ),
        "box-none.jpg": row(
            [
                Panel(7, whole, (), good=True),
                Panel(
                    7,
                    whole,
                    (Box(56, 72, 162, 17), Box(238, 106, 56, 30), Box(198, 204, 40, 37), Box(264, 142, 30, 26)),
                    good=False,
                ),
            ]
        ),
        "box-all.jpg": row(
            [
                Panel(4, whole, tuple(_grown(box, 1, 1, 1, 1) for box in labels(4)), good=True),
                Panel(4, whole, tuple(_grown(box, 1, 1, 1, 1) for box in (labels(4)[0], labels(4)[2])), good=False),
            ]
        ),
    }


def main() -> int:
    """Write all pictures to `docs/guides/images/`."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures().items():
        ok, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
        assert ok
        (IMAGES / name).write_bytes(data.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())

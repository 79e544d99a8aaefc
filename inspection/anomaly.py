"""Turns an anomaly map, the output of a model that learned from good parts alone, into detections.

A map says for each place of the input how unlike a good part it looks, 0..1. What it finds has one class, `anomaly`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.decode import OutputError
from inspection.geometry import Box, Detection
from inspection.preprocess import Letterbox

ANOMALY: Final = "anomaly"
"""The class of all that such a model finds."""
_PROMINENCE: Final = 0.5
_ROUNDING: Final = 1e-3


@dataclass(frozen=True, slots=True)
class AnomalyMap:
    """An anomaly map as it is kept for people: (rows, columns) uint8, 0 for 0.0 and 255 for 1.0.

    geometry: where the image lies in the input. input_width, input_height: pixels of the input that the map covers.
    """

    values: NDArray[np.uint8]
    geometry: Letterbox
    input_width: int
    input_height: int

    def over(self, width: int, height: int) -> NDArray[np.uint8]:
        """The map over the image alone, (height, width) uint8, interpolated for an image shown in this size."""
        rows, columns = self.values.shape
        place = self.geometry
        # From pixels of the shown image to places of the map; the centre of the first place is its coordinate 0.
        per_x, per_y = columns / self.input_width, rows / self.input_height
        x = (np.arange(width, dtype=np.float32) + 0.5) * (place.image_width / width) * place.scale_x + place.pad_left
        y = (np.arange(height, dtype=np.float32) + 0.5) * (place.image_height / height) * place.scale_y + place.pad_top
        grid_x, grid_y = np.meshgrid(x * per_x - 0.5, y * per_y - 0.5)
        shown = cv2.remap(
            self.values, grid_x.astype(np.float32), grid_y.astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return np.asarray(shown, np.uint8)


def kept_map(output: NDArray[np.float32], geometry: Letterbox, input_width: int, input_height: int) -> AnomalyMap:
    """A copy of a model's map, as small as people need it. output: (1, 1, rows, columns), checked before."""
    values = np.rint(np.clip(output[0, 0], 0.0, 1.0) * 255).astype(np.uint8)
    return AnomalyMap(values, geometry, input_width, input_height)


def check_map_values(output: NDArray[np.float32]) -> None:
    """Check that an output is the map of a network that works.

    Raises:
        OutputError: it has another shape, no place at all, a value that is not finite or outside 0..1, or nothing but
            zeros. No part looks exactly like what a model learned, so zeros alone come from a runtime that computed
            nothing.
    """
    if output.ndim != 4 or output.shape[:2] != (1, 1) or 0 in output.shape:
        raise OutputError(f"expected an anomaly map of shape (1, 1, rows, columns), got {output.shape}")
    if output.dtype.kind != "f":
        raise OutputError(f"expected an anomaly map of floating-point numbers, got {output.dtype}")
    least, greatest = float(output.min()), float(output.max())
    if not (math.isfinite(least) and math.isfinite(greatest)):
        wrong = output.size - int(np.isfinite(output).sum())
        raise OutputError(f"expected finite numbers, but {wrong} of {output.size} are not")
    if least == greatest == 0.0:
        raise OutputError(f"expected an anomaly map, but all {output.size} numbers are zero")
    if least < -_ROUNDING or greatest > 1.0 + _ROUNDING:
        raise OutputError(f"expected an anomaly map of numbers in 0..1, but they lie in {least:.3g}..{greatest:.3g}")


def decode_anomaly_map(
    output: NDArray[np.float32],
    geometry: Letterbox,
    input_width: int,
    input_height: int,
    score_threshold: float,
    max_detections: int,
) -> tuple[Detection, ...]:
    """The anomalies of a map, highest score first.

    A peak of the map is an anomaly of its own where nothing higher is connected with it at half its height. Its score
    is the peak; its box is drawn around all that is connected with it at half its height. So an anomaly has the same
    score and box whatever the threshold, and the highest score is the maximum of the map over the image.

    Args:
        output: (1, 1, rows, columns) float32 in 0..1; it covers the input evenly.
        geometry: where the image lies in the input.
        input_width: pixels of the input.
        input_height: pixels of the input.
        score_threshold: lower peaks are left out.
        max_detections: at most so many, the highest.

    Returns:
        Boxes in pixels of the image, clipped to it. A peak beside the image, in the border of the input, is left out.

    Raises:
        OutputError: see `check_map_values`.
    """
    check_map_values(output)
    values = np.clip(output[0, 0], 0.0, 1.0)
    rows, columns = values.shape
    step_x, step_y = input_width / columns, input_height / rows
    inside = _inside(values.shape, geometry, step_x, step_y)
    values = np.where(inside, values, np.float32(0.0))
    around = cv2.dilate(values, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    peak_rows, peak_columns = ((values >= around) & (values >= score_threshold) & (values > 0)).nonzero()
    heights = values[peak_rows, peak_columns]
    found: list[tuple[int, int]] = []
    detections: list[Detection] = []
    for index in np.argsort(-heights, kind="stable"):
        if len(detections) >= max_detections:
            break
        at, score = (int(peak_rows[index]), int(peak_columns[index])), float(heights[index])
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            (values >= score * _PROMINENCE).astype(np.uint8), connectivity=8
        )
        own = labels[at]
        if any(labels[other] == own for other in found):
            continue  # the shoulder of a higher peak
        found.append(at)
        left, top, width, height = (int(value) for value in stats[own][:4])
        corners = np.array([[left * step_x, top * step_y, (left + width) * step_x, (top + height) * step_y]])
        x1, y1, x2, y2 = geometry.to_image(corners)[0].tolist()
        box = Box.from_xyxy(x1, y1, x2, y2).clipped(geometry.image_width, geometry.image_height)
        if box is not None:
            detections.append(Detection(ANOMALY, score, box))
    return tuple(detections)


def _inside(shape: tuple[int, ...], geometry: Letterbox, step_x: float, step_y: float) -> NDArray[np.bool_]:
    """The places of the map that touch the image; the others lie in the border of the input."""
    left, top = geometry.pad_left, geometry.pad_top
    right = left + geometry.image_width * geometry.scale_x
    bottom = top + geometry.image_height * geometry.scale_y
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    across = ((columns + 1) * step_x > left) & (columns * step_x < right)
    down = ((rows + 1) * step_y > top) & (rows * step_y < bottom)
    inside: NDArray[np.bool_] = down[:, None] & across[None, :]
    return inside

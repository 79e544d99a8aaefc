"""What a model's output is, and its decoder: a release says which, and evaluation and the device follow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from inspection.anomaly import ANOMALY, AnomalyMap, check_map_values, decode_anomaly_map, kept_map
from inspection.decode import Nms, check_output_values, decode_yolov8
from inspection.geometry import Detection
from inspection.preprocess import Letterbox

OutputForm = Literal["boxes", "anomaly-map"]
"""`boxes`: (1, 4 + classes, n), box and scores of n places. `anomaly-map`: (1, 1, rows, columns), 0..1."""

BOXES: Final[OutputForm] = "boxes"
ANOMALY_MAP: Final[OutputForm] = "anomaly-map"


class Decoder(Protocol):
    """Reads one form of output."""

    def check(self, output: NDArray[np.float32]) -> None:
        """Check that an output is the answer of a network that works; raises OutputError."""
        ...

    def detections(
        self, output: NDArray[np.float32], geometry: Letterbox, score_threshold: float
    ) -> tuple[Detection, ...]:
        """Detections of at least `score_threshold`, highest score first, in pixels of the image.

        Raises:
            OutputError: see `check`.
        """
        ...

    def anomaly_map(self, output: NDArray[np.float32], geometry: Letterbox) -> AnomalyMap | None:
        """The map for people to look at; None where the output is none. `output` was checked before."""
        ...


def decoder_of(form: str, *, classes: Sequence[str], nms: Nms, input_width: int, input_height: int) -> Decoder:
    """The decoder of a form of output.

    Raises:
        ValueError: there is no such form, or the classes are not those that it can answer.
    """
    check_form(form, classes)
    return _Map(nms, input_width, input_height) if form == ANOMALY_MAP else _Boxes(tuple(classes), nms)


def check_form(form: str, classes: Sequence[str]) -> None:
    """Check that there is such a form of output, and that it can answer these classes; raises ValueError."""
    if form not in get_args(OutputForm):
        raise ValueError(f"output is one of {list(get_args(OutputForm))}, but got {form!r}; update this program")
    if form == ANOMALY_MAP and tuple(classes) != (ANOMALY,):
        raise ValueError(f"expected the one class {ANOMALY!r} for an anomaly map, but got {list(classes)}")


class _Boxes:
    def __init__(self, classes: tuple[str, ...], nms: Nms) -> None:
        self._classes, self._nms = classes, nms

    def check(self, output: NDArray[np.float32]) -> None:
        check_output_values(output, len(self._classes))

    def detections(
        self, output: NDArray[np.float32], geometry: Letterbox, score_threshold: float
    ) -> tuple[Detection, ...]:
        return decode_yolov8(output, geometry, self._classes, score_threshold, self._nms)

    def anomaly_map(self, output: NDArray[np.float32], geometry: Letterbox) -> AnomalyMap | None:
        return None


class _Map:
    def __init__(self, nms: Nms, input_width: int, input_height: int) -> None:
        self._most, self._width, self._height = nms.max_detections, input_width, input_height

    def check(self, output: NDArray[np.float32]) -> None:
        check_map_values(output)

    def detections(
        self, output: NDArray[np.float32], geometry: Letterbox, score_threshold: float
    ) -> tuple[Detection, ...]:
        return decode_anomaly_map(output, geometry, self._width, self._height, score_threshold, self._most)

    def anomaly_map(self, output: NDArray[np.float32], geometry: Letterbox) -> AnomalyMap | None:
        return kept_map(output, geometry, self._width, self._height)

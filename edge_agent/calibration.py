"""Finds how many millimetres a pixel of a camera has, from a picture of a known length or of a checkerboard."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import CalibrationError
from inspection import ImageError, decode_image

POINT_ERROR_PX: Final = 1.0
"""By how much each end of a length that a person reads off a picture may be wrong, in pixels."""
MIN_LENGTH_PX: Final = 100.0
MIN_SQUARE_PX: Final = 8.0
MAX_SPREAD: Final = 0.02
"""The most by which the scale may differ over the board: beyond, the camera does not look at it straight."""
MAX_CORNER_NOISE: Final = 0.03
"""The most by which single squares may differ, as a share of their side: beyond, the picture is blurred or bent."""
MIN_COVER: Final = 0.04
"""The least share of the picture that the board must fill."""

_TOO_BENT = "take the picture straight from above, with the board flat"


@dataclass(frozen=True, slots=True)
class Scale:
    """Millimetres a pixel, and by how much that may be wrong; width and height of the picture in pixels."""

    mm_per_px: float
    uncertainty: float
    width: int
    height: int

    def as_yaml(self) -> str:
        """The lines for the camera's section of the device's file."""
        digits = max(0, 1 - math.floor(math.log10(self.uncertainty))) if self.uncertainty > 0 else 6
        return (
            f"mm_per_px: {self.mm_per_px:.{digits}f}\n"
            f"mm_per_px_uncertainty: {self.uncertainty:.{digits}f}\n"
            f"calibrated_px: [{self.width}, {self.height}]\n"
        )


def calibrate(
    file: Path, board: str | None, square_mm: float | None, start: str | None, end: str | None, length_mm: float | None
) -> Scale:
    """The scale from a file, by a board (`9x6` and the side of a square) or by two points (`x,y`) and their distance.

    Raises:
        CalibrationError: the file is no picture, what is given is neither, or the picture does not tell.
    """
    by_board = board is not None and square_mm is not None
    by_points = start is not None and end is not None and length_mm is not None
    given = [value for value in (board, square_mm, start, end, length_mm) if value is not None]
    if len(given) != (2 if by_board else 3 if by_points else -1):
        raise CalibrationError(
            "expected either --board and --square-mm, or --from, --to and --length-mm, all of one way and none of the "
            "other"
        )
    try:
        picture = decode_image(file.read_bytes())
    except OSError as e:
        raise CalibrationError(f"cannot read the picture {file}: {e.strerror}") from e
    except ImageError as e:
        raise CalibrationError(f"expected a picture in {file}, but {e}") from e
    if board is not None and square_mm is not None:
        columns, rows = _two(board, "x", "--board", "9x6")
        if columns != int(columns) or rows != int(rows):
            raise CalibrationError(f"expected --board as whole numbers such as 9x6, but got {board!r}")
        return from_board(picture, int(columns), int(rows), square_mm)
    assert start is not None
    assert end is not None
    assert length_mm is not None
    first, second = _two(start, ",", "--from", "120,80"), _two(end, ",", "--to", "1420,82")
    return from_points(picture, first, second, length_mm)


def _two(text: str, between: str, name: str, example: str) -> tuple[float, float]:
    try:
        one, other = (float(part) for part in text.split(between))
    except ValueError:
        raise CalibrationError(f"expected {name} as two numbers such as {example}, but got {text!r}") from None
    return one, other


def from_points(
    picture: NDArray[np.uint8], first: tuple[float, float], second: tuple[float, float], length_mm: float
) -> Scale:
    """The scale from two points, in pixels, whose distance on the part is known.

    Raises:
        CalibrationError: a point lies outside of the picture, they are too near, or the length is none.
    """
    height, width = picture.shape[:2]
    for x, y in (first, second):
        if not (0 <= x < width and 0 <= y < height):
            raise CalibrationError(f"expected two points inside of {width} x {height} pixels, but got {x:g},{y:g}")
    _check_length("--length-mm", length_mm)
    length_px = math.dist(first, second)
    if length_px < MIN_LENGTH_PX:
        raise CalibrationError(
            f"expected two points at least {MIN_LENGTH_PX:g} pixels apart, but they are {length_px:.1f}; "
            "an error of one pixel would be too large a part of it"
        )
    scale = length_mm / length_px
    return Scale(scale, scale * math.hypot(POINT_ERROR_PX, POINT_ERROR_PX) / length_px, width, height)


def from_board(picture: NDArray[np.uint8], columns: int, rows: int, square_mm: float) -> Scale:
    """The scale from a checkerboard.

    The uncertainty is the largest difference between the scale of one line of corners and that of all, and the error of
    a single square's corners on one line: a defect may lie at any place of the board.

    Args:
        picture: (h, w, 3) uint8, BGR.
        columns, rows: inner corners, one less than there are squares.
        square_mm: the side of a square.

    Raises:
        CalibrationError: the board is not found, is too small, or is not seen straight.
    """
    _check_length("--square-mm", square_mm)
    if columns < 3 or rows < 3:
        raise CalibrationError(f"expected a board of at least 3 x 3 inner corners, but got {columns} x {rows}")
    height, width = picture.shape[:2]
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    found, corners = cv2.findChessboardCornersSB(grey, (columns, rows), flags=cv2.CALIB_CB_ACCURACY)
    if not found:
        raise CalibrationError(
            f"found no checkerboard of {columns} x {rows} inner corners: it must be whole and sharp, with a white "
            "margin; count the corners where four squares meet"
        )
    grid = np.asarray(corners, np.float64).reshape(rows, columns, 2)
    along = np.linalg.norm(np.diff(grid, axis=1), axis=2)
    across = np.linalg.norm(np.diff(grid, axis=0), axis=2)
    side = float(np.mean(np.concatenate([along.ravel(), across.ravel()])))
    if side < MIN_SQUARE_PX:
        raise CalibrationError(
            f"expected squares of at least {MIN_SQUARE_PX:g} pixels, but they have {side:.1f}; take larger squares"
        )
    cover = side**2 * (columns - 1) * (rows - 1) / (width * height)
    if cover < MIN_COVER:
        raise CalibrationError(
            f"expected the board to fill at least {MIN_COVER:.0%} of the picture, but it fills {cover:.1%}; "
            "the scale elsewhere would be a guess"
        )
    lines = np.concatenate([along.mean(axis=1), across.mean(axis=0), along.mean(axis=0), across.mean(axis=1)])
    spread = float(np.max(np.abs(lines / side - 1.0)))
    if spread > MAX_SPREAD:
        raise CalibrationError(
            f"the scale differs by {spread:.1%} over the board, more than {MAX_SPREAD:.0%}: the camera does not look "
            f"at it straight, or its lens bends the picture; {_TOO_BENT}"
        )
    noise = float(np.std(np.concatenate([(along / side).ravel(), (across / side).ravel()])))
    if noise > MAX_CORNER_NOISE:
        raise CalibrationError(
            f"single squares differ by {noise:.1%}, more than {MAX_CORNER_NOISE:.0%}: the picture is blurred; "
            "focus, and take it again"
        )
    scale = square_mm / side
    # Corners are found to a fraction of a pixel; the mean of a line of n squares is that much better.
    return Scale(scale, scale * max(spread, 2.0 * noise / math.sqrt(min(columns, rows) - 1), 1e-4), width, height)


def _check_length(name: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise CalibrationError(f"expected {name} as a length above 0, but got {value}")

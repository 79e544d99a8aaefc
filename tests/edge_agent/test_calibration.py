"""`kizu-edge calibrate` finds the known scale of drawn boards, and refuses a picture that does not tell."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from edge_agent.__main__ import app
from edge_agent.calibration import from_board, from_points
from edge_agent.camera_config import FolderCamera
from edge_agent.errors import CalibrationError

SQUARE = 40


def board(columns=9, rows=6, square=SQUARE, margin=60) -> np.ndarray:
    """A checkerboard with so many inner corners, drawn in pixels."""
    height, width = (rows + 1) * square + 2 * margin, (columns + 1) * square + 2 * margin
    image = np.full((height, width, 3), 255, np.uint8)
    for row in range(rows + 1):
        for column in range(columns + 1):
            if (row + column) % 2 == 0:
                y, x = margin + row * square, margin + column * square
                image[y : y + square, x : x + square] = 0
    return image


def warped(image, tilt: float) -> np.ndarray:
    """The board as a camera sees it that does not look straight: its upper edge is shorter by `tilt`."""
    height, width = image.shape[:2]
    inset = width * tilt / 2
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    seen = np.float32([[inset, 0], [width - inset, 0], [width, height], [0, height]])
    matrix = cv2.getPerspectiveTransform(corners, seen)
    return cv2.warpPerspective(image, matrix, (width, height), borderValue=(255, 255, 255))


def test_a_straight_board_gives_the_scale_and_a_small_uncertainty():
    """Squares of 40 pixels and 5 mm: 0.125 mm a pixel."""
    scale = from_board(board(), 9, 6, 5.0)
    assert scale.mm_per_px == pytest.approx(0.125, rel=0.002)
    assert abs(scale.mm_per_px - 0.125) <= scale.uncertainty < 0.125 * 0.01
    assert (scale.width, scale.height) == (520, 400)


def test_a_board_that_is_turned_has_the_same_scale():
    """The board need not lie along the picture's edges."""
    image = board(margin=150)
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 20.0, 1.0)
    turned = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_CUBIC, borderValue=(255, 255, 255))
    assert from_board(turned, 9, 6, 5.0).mm_per_px == pytest.approx(0.125, rel=0.005)


def test_a_slight_tilt_makes_the_scale_less_sure_and_a_stronger_one_is_refused():
    """The uncertainty covers the scale at both ends of the board."""
    slight = from_board(warped(board(), 0.02), 9, 6, 5.0)
    assert slight.uncertainty > 2 * from_board(board(), 9, 6, 5.0).uncertainty
    with pytest.raises(CalibrationError, match="does not look at it straight"):
        from_board(warped(board(), 0.15), 9, 6, 5.0)


@pytest.mark.parametrize(
    ("image", "size", "square_mm", "message"),
    [
        (np.full((300, 300, 3), 200, np.uint8), (9, 6), 5.0, "found no checkerboard of 9 x 6"),
        (board(), (8, 6), 5.0, "found no checkerboard|does not look at it straight"),
        (board(), (2, 6), 5.0, "at least 3 x 3"),
        (board(), (9, 6), 0.0, "--square-mm as a length above 0"),
        (cv2.copyMakeBorder(board(square=12), 600, 600, 600, 600, cv2.BORDER_CONSTANT, value=(255,) * 3), (9, 6), 5.0,
         "fill at least 4%"),
    ],
)  # fmt: skip
def test_a_picture_that_does_not_tell_is_refused(image, size, square_mm, message):
    """No board, another board, no length, and one that is far too small for the picture."""
    with pytest.raises(CalibrationError, match=message):
        from_board(image, *size, square_mm)


def test_two_points_give_the_scale_with_the_error_of_a_hand():
    """500 pixels that are 50 mm, each end to a pixel: 0.1 mm a pixel, give or take 0.28 %."""
    scale = from_points(np.zeros((100, 600, 3), np.uint8), (50, 50), (550, 50), 50.0)
    assert scale.mm_per_px == pytest.approx(0.1)
    assert scale.uncertainty == pytest.approx(0.1 * 2**0.5 / 500)
    for points, message in [
        (((0, 0), (99, 0)), "at least 100 pixels apart"),
        (((0, 0), (600, 0)), "inside of 600 x 100 pixels"),
    ]:
        with pytest.raises(CalibrationError, match=message):
            from_points(np.zeros((100, 600, 3), np.uint8), *points, 50.0)


def test_the_command_prints_what_the_file_of_the_device_takes(tmp_path):
    """The lines are keys of a camera's section."""
    file = tmp_path / "board.png"
    cv2.imwrite(str(file), board())
    done = CliRunner().invoke(app, ["calibrate", str(file), "--board", "9x6", "--square-mm", "5"])
    assert done.exit_code == 0, done.output
    view = FolderCamera(path=tmp_path, **yaml.safe_load(done.stdout)).view()
    assert view.mm_per_px == pytest.approx(0.125, rel=0.002)
    assert view.size_px == (520, 400)
    assert 0 < view.mm_per_px_uncertainty < 0.002
    by_points = ["calibrate", str(file), "--from", "10,20", "--to", "510,20", "--length-mm", "62.5"]
    assert yaml.safe_load(CliRunner().invoke(app, by_points).stdout)["mm_per_px"] == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "either --board and --square-mm, or"),
        (["--board", "9x6"], "either --board"),
        (["--board", "9x6", "--square-mm", "5", "--from", "1,2"], "none of the other"),
        (["--board", "nine", "--square-mm", "5"], "two numbers such as 9x6"),
        (["--from", "1", "--to", "2,3", "--length-mm", "5"], "two numbers such as 120,80"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, message):
    """The message says what is expected together."""
    file = tmp_path / "board.png"
    cv2.imwrite(str(file), board())
    with pytest.raises(CalibrationError, match=message):
        CliRunner().invoke(app, ["calibrate", str(file), *options], catch_exceptions=False)


def test_a_file_that_is_no_picture_is_refused(tmp_path):
    """So is one that is not there."""
    (tmp_path / "note.txt").write_text("no picture")
    for name, message in [("note.txt", "expected a picture in"), ("none.png", "cannot read the picture")]:
        with pytest.raises(CalibrationError, match=message):
            CliRunner().invoke(
                app, ["calibrate", str(tmp_path / name), "--board", "9x6", "--square-mm", "5"], catch_exceptions=False
            )

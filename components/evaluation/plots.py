"""The plots of a report as SVG, drawn here: three simple kinds need no plotting library in the container image.

MLflow and Kubeflow Pipelines show SVG, a browser scales it, its text stays text, and the same numbers give the same
bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

import numpy as np

from components.evaluation.curves import Curves
from inspection.verdict import ClassThreshold

_COLOURS: Final = ("#1f6fb4", "#d1603d", "#3a8f5c", "#8a5ba6", "#b58900", "#5c6770")
_GOOD, _BAD, _INK, _GRID = "#3a8f5c", "#d1603d", "#22303c", "#d9dee3"
_WIDTH, _HEIGHT = 510, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 150, 34, 44
_BINS: Final = 20


def precision_recall_svg(curves: Curves) -> str:
    """Precision over recall at IoU 0.5, one line for each class."""
    plot = _Plot("Precision and recall (IoU 0.5)", "recall", "precision")
    for index, (name, values) in enumerate(sorted(curves.precision.items())):
        colour = _COLOURS[index % len(_COLOURS)]
        points = " ".join(f"{plot.x(step / 100):.1f},{plot.y(value):.1f}" for step, value in enumerate(values))
        plot.add(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
        plot.legend(index, colour, f"{_short(name, 10)} (AP {np.mean(values):.3f})")
    return plot.svg()


def reliability_svg(curves: Curves) -> str:
    """How often detections of a score are true, over the score. On the dashed line, score and share agree."""
    plot = _Plot("How often a detection is true", "score", "share that is true")
    line = f'x1="{plot.x(0):.1f}" y1="{plot.y(0):.1f}" x2="{plot.x(1):.1f}" y2="{plot.y(1):.1f}"'
    plot.add(f'<line {line} stroke="{_INK}" stroke-dasharray="4 3"/>')
    for index, (name, bins) in enumerate(sorted(curves.reliability.items())):
        colour = _COLOURS[index % len(_COLOURS)]
        points = " ".join(f"{plot.x(score):.1f},{plot.y(true):.1f}" for score, true, _ in bins)
        plot.add(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
        for score, true, number in bins:
            radius = min(7.0, 2.0 + np.log10(max(1.0, number)) * 2)
            plot.add(f'<circle cx="{plot.x(score):.1f}" cy="{plot.y(true):.1f}" r="{radius:.1f}" fill="{colour}"/>')
        plot.legend(index, colour, f"{_short(name, 10)} ({sum(int(number) for *_, number in bins)})")
    return plot.svg()


def score_histogram_svg(curves: Curves, thresholds: Mapping[str, ClassThreshold]) -> str:
    """A histogram of the highest score on each part, good and defective, with the operating threshold."""
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    counts = [np.histogram(scores, edges)[0] for scores in (curves.good_scores, curves.defective_scores)]
    most = max(1, *(int(count.max()) for count in counts))
    plot = _Plot("Highest score on each part", "score", "parts", top=most)
    half = plot.inner_width / _BINS / 2
    for row, (count, colour) in enumerate(zip(counts, (_GOOD, _BAD), strict=True)):
        for edge, value in zip(edges, count, strict=False):
            height = plot.inner_height * int(value) / most
            left, top = plot.x(edge) + row * half, plot.y(0) - height
            plot.add(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{half - 0.5:.1f}" height="{height:.1f}" fill="{colour}"/>'
            )
    plot.legend(0, _GOOD, f"good ({len(curves.good_scores)})")
    plot.legend(1, _BAD, f"defective ({len(curves.defective_scores)})")
    for fail in sorted({threshold.fail for threshold in thresholds.values()}):
        at = plot.x(fail)
        plot.add(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{plot.y(1 * most):.1f}" y2="{plot.y(0):.1f}" stroke="{_INK}" '
            f'stroke-dasharray="4 3"/>'
        )
    return plot.svg()


def confusion_svg(curves: Curves) -> str:
    """The confusion as a table: labelled classes in rows, detected classes in columns, in boxes."""
    names = curves.categories
    cell, left, top = 64, 130, 70
    side = cell * len(names)
    most = max(1, max((max(row) for row in curves.confusion), default=1))
    parts = [_text(left + side / 2, 18, "said, in boxes", anchor="middle", weight="bold")]
    for column, name in enumerate(names):
        parts.append(_text(left + (column + 0.5) * cell, top - 10, _short(name), anchor="middle"))
    for row, (name, values) in enumerate(zip(names, curves.confusion, strict=True)):
        parts.append(_text(left - 10, top + (row + 0.5) * cell + 4, _short(name), anchor="end"))
        for column, value in enumerate(values):
            x, y = left + column * cell, top + row * cell
            colour = _GOOD if row == column else _BAD
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 2}" height="{cell - 2}" fill="{colour}" '
                f'fill-opacity="{0.08 + 0.6 * value / most:.2f}"/>'
            )
            if row < len(names) - 1 or column < len(names) - 1:  # correct silence cannot be counted
                parts.append(_text(x + cell / 2, y + cell / 2 + 5, str(value), anchor="middle"))
    return _svg(left + side + 20, top + side + 20, parts, "Confusion")


class _Plot:
    """A plot with an axis from 0 to 1 below and one from 0 to `top` at the side."""

    def __init__(self, title: str, below: str, side: str, *, top: float = 1.0) -> None:
        self._top = top
        self._title = title
        self.inner_width = _WIDTH - _LEFT - _RIGHT
        self.inner_height = _HEIGHT - _TOP - _BOTTOM
        self._parts = [_text(_LEFT, 20, title, weight="bold")]
        self._legend: list[str] = []
        for step in range(6):
            share = step / 5
            x, y = self.x(share), self.y(share * top)
            self._parts.append(
                f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>'
            )
            self._parts.append(_text(x, self.y(0) + 16, f"{share:.1f}", anchor="middle"))
            if top == 1 or (share * top) % 1 == 0:
                self._parts.append(_text(_LEFT - 6, y + 4, f"{share * top:g}", anchor="end"))
        self._parts.append(_text(_LEFT + self.inner_width / 2, _HEIGHT - 8, below, anchor="middle"))
        middle = _TOP + self.inner_height / 2
        self._parts.append(f'<g transform="rotate(-90 14 {middle:.1f})">{_text(14, middle, side, anchor="middle")}</g>')

    def x(self, value: float) -> float:
        return _LEFT + float(value) * self.inner_width

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - float(value) / self._top * self.inner_height

    def add(self, element: str) -> None:
        self._parts.append(element)

    def legend(self, row: int, colour: str, text: str) -> None:
        y = _TOP + 8 + 16 * row
        left = _WIDTH - _RIGHT + 12
        self._legend.append(f'<rect x="{left}" y="{y - 8}" width="10" height="10" fill="{colour}"/>')
        self._legend.append(_text(left + 16, y + 1, text))

    def svg(self) -> str:
        return _svg(_WIDTH, _HEIGHT, [*self._parts, *self._legend], self._title)


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text {place} fill="{_INK}">{escape(text)}</text>'


def _short(name: str, most: int = 14) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="sans-serif" font-size="12" role="img" aria-label="{escape(title)}">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )

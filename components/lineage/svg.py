"""Draw a lineage as an SVG graph: columns of nodes by kind, from people on the left to devices on the right.

The text stays text, a browser can scale the drawing, and the same lineage always gives the same bytes.

The layout is our own code, about 30 lines (`_place` and `_stack`). The kinds of the nodes fix the columns, so that the
layout only has to find the order within a column. We considered these libraries. Graphviz, and pygraphviz, which uses
it, need a program that is no Python package. networkx's multipartite layout places points: it supports neither boxes of
different heights nor an order with few crossings. grandalf would fit, but its licence (GPL-2.0 or EPL-1.0) is not
permissive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean
from typing import Final

from components.lineage.graph import Edge, Kind, Lineage, Node
from components.lineage.text import title

MAX_IN_COLUMN: Final = 30
_COLUMNS: Final[Mapping[Kind, int]] = {
    Kind.PERSON: 0,
    Kind.FRAME: 0,
    Kind.LABEL: 1,
    Kind.LABELS: 1,
    Kind.DATASET: 2,
    Kind.RUN: 3,
    Kind.VERSION: 4,
    Kind.RELEASE: 5,
    Kind.DEVICE: 6,
}
_HEADINGS: Final = ("images and people", "labels", "datasets", "trainings", "model versions", "releases", "devices")
_COLOURS: Final[Mapping[Kind, str]] = {
    Kind.PERSON: "#8a5ba6",
    Kind.FRAME: "#5c6770",
    Kind.LABEL: "#b58900",
    Kind.LABELS: "#b58900",
    Kind.DATASET: "#3a8f5c",
    Kind.RUN: "#1f6fb4",
    Kind.VERSION: "#1f6fb4",
    Kind.RELEASE: "#22303c",
    Kind.DEVICE: "#22303c",
}
_INK, _PALE, _EDGE, _BAD = "#22303c", "#5c6770", "#9aa5ae", "#c0392b"
_WIDTH, _GAP, _TOP, _MARGIN = 220, 110, 60, 20
_LINE, _BETWEEN, _LANE = 15, 16, 22
_FACTS: Final = 4
_SIGNS: Final = 40
_NAME, _DIGITS = 24, 12
_SWEEPS: Final = 4


@dataclass(slots=True)
class _Box:
    """A node's box. x, y: the place of its top-left corner, in pixels of the drawing."""

    id: str
    kind: Kind
    lines: tuple[str, ...]
    told: str
    missing: bool
    asked: bool
    x: float = 0.0
    y: float = 0.0

    @property
    def height(self) -> float:
        return 14.0 + _LINE * len(self.lines)

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def to_svg(lineage: Lineage) -> str:
    """Return a lineage as one SVG document.

    A column shows its first `MAX_IN_COLUMN` nodes, and the number of its other nodes.
    """
    columns, ends = _boxes(lineage)
    edges: dict[tuple[str, str], list[str]] = {}
    for edge in lineage.edges:
        source, target = ends[edge.source], ends[edge.target]
        if source != target:
            edges.setdefault((source, target), []).append(_said(edge))
    _place(columns, list(edges))
    boxes = {box.id: box for column in columns for box in column}
    used = [index for index, column in enumerate(columns) if column]
    parts = [
        _text(columns[index][0].x + _WIDTH / 2, 30, _HEADINGS[index], anchor="middle", fill=_PALE) for index in used
    ]
    lane = max(box.y + box.height for box in boxes.values()) + _LANE
    for (source, target), said in edges.items():
        parts.append(_curve(boxes[source], boxes[target], said, lane))
        lane += _LANE if _is_long(boxes[source], boxes[target]) else 0
    parts += [_drawn(box) for box in boxes.values()]
    width, height = max(box.x for box in boxes.values()) + _WIDTH + _MARGIN, lane
    asked = escape(f"Lineage of {title(lineage.nodes[0])}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" font-family="sans-serif" font-size="12" role="img" aria-label="{asked}">'
        f'<title>{asked}</title><rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def _boxes(lineage: Lineage) -> tuple[list[list[_Box]], dict[str, str]]:
    """Return the columns of boxes and, by node id, the id of the box that shows the node."""
    columns: list[list[_Box]] = [[] for _ in _HEADINGS]
    ends: dict[str, str] = {}
    more: dict[int, list[Node]] = {}
    for node in lineage.nodes:
        index = _COLUMNS[node.kind]
        if len(columns[index]) < MAX_IN_COLUMN:
            columns[index].append(_box(node, asked=node.id == lineage.asked))
            ends[node.id] = node.id
        else:
            more.setdefault(index, []).append(node)
            ends[node.id] = f"more:{index}"
    for index, nodes in more.items():
        broken = sum(bool(node.missing) for node in nodes)
        lines = (f"and {len(nodes)} more", *([f"{broken} of them missing"] if broken else []))
        columns[index].append(_Box(f"more:{index}", nodes[0].kind, lines, "\n".join(lines), bool(broken), False))
    return columns, ends


def _box(node: Node, *, asked: bool) -> _Box:
    facts = [f"{name}: {value}" for name, value in node.facts.items()]
    name = node.name if len(node.name) <= _NAME else f"{node.name[:_DIGITS]}…"
    lines = [
        str(node.kind) if node.kind is Kind.LABELS else f"{node.kind} {name}",
        *(["missing"] if node.missing else []),
        *facts[:_FACTS],
    ]
    told = "\n".join([title(node), *([f"missing: {node.missing}"] if node.missing else []), *facts])
    return _Box(node.id, node.kind, tuple(_short(line) for line in lines), told, bool(node.missing), asked)


def _place(columns: list[list[_Box]], edges: Sequence[tuple[str, str]]) -> None:
    """Place the columns from left to right, and order the boxes of each column so that fewer edges cross.

    Each sweep sorts the boxes of a column by the mean place of their neighbours, and the sweeps alternate in direction
    (Sugiyama, Tagawa and Toda, 1981).
    """
    used = [column for column in columns if column]
    for index, column in enumerate(used):
        for box in column:
            box.x = _MARGIN + index * (_WIDTH + _GAP)
    near: dict[str, list[_Box]] = {box.id: [] for column in used for box in column}
    boxes = {box.id: box for column in used for box in column}
    for source, target in edges:
        near[source].append(boxes[target])
        near[target].append(boxes[source])
    _stack(used)
    for sweep in range(_SWEEPS):
        for column in used if sweep % 2 else used[::-1]:
            places = {box.id: fmean(other.middle for other in near[box.id]) for box in column if near[box.id]}
            column.sort(key=lambda box: places.get(box.id, box.middle))
            _stack(used)


def _stack(columns: Sequence[list[_Box]]) -> None:
    """Place the boxes of each column below each other, with every column centred on the tallest one."""
    heights = [sum(box.height + _BETWEEN for box in column) for column in columns]
    highest = max(heights)
    for column, height in zip(columns, heights, strict=True):
        y = _TOP + (highest - height) / 2
        for box in column:
            box.y = y
            y += box.height + _BETWEEN


def _said(edge: Edge) -> str:
    return f"{edge.relation} ({edge.note})" if edge.note else str(edge.relation)


def _is_long(source: _Box, target: _Box) -> bool:
    """Return whether columns lie between two boxes. A straight edge would run behind the boxes of these columns."""
    return abs(source.x - target.x) > 1.5 * (_WIDTH + _GAP)


def _curve(source: _Box, target: _Box, said: Sequence[str], lane: float) -> str:
    """Return an edge with its words as SVG. lane: the y of a long edge, in pixels; it runs there, below all boxes."""
    left, right = (source, target) if source.x < target.x else (target, source)
    x1, y1, x2, y2 = left.x + _WIDTH, left.middle, right.x, right.middle
    bend = _GAP / 2
    at_x, at_y = (x1 + x2) / 2, (y1 + y2) / 2
    if _is_long(source, target):
        at_y = lane
        path = (
            f"M{x1:.1f},{y1:.1f} C{x1 + bend:.1f},{y1:.1f} {x1 + bend:.1f},{lane:.1f} {x1 + _GAP:.1f},{lane:.1f} "
            f"L{x2 - _GAP:.1f},{lane:.1f} C{x2 - bend:.1f},{lane:.1f} {x2 - bend:.1f},{y2:.1f} {x2:.1f},{y2:.1f}"
        )
    else:
        path = f"M{x1:.1f},{y1:.1f} C{x1 + bend:.1f},{y1:.1f} {x2 - bend:.1f},{y2:.1f} {x2:.1f},{y2:.1f}"
    kinds = list(dict.fromkeys(said))
    words = escape(", ".join(kinds))
    short = escape(_short(kinds[0], 20) if len(kinds) == 1 else f"{len(kinds)} links")
    return (
        f'<g><title>{words}</title><path d="{path}" fill="none" stroke="{_EDGE}" stroke-width="1.3"/>'
        f'<text x="{at_x:.1f}" y="{at_y - 3:.1f}" text-anchor="middle" font-size="10" fill="{_PALE}" '
        f'stroke="#ffffff" stroke-width="3" paint-order="stroke">{short}</text></g>'
    )


def _drawn(box: _Box) -> str:
    colour = _BAD if box.missing else _COLOURS[box.kind]
    dash = ' stroke-dasharray="5 3"' if box.missing else ""
    rows = [
        _text(10, 18 + _LINE * number, line, weight="bold" if number == 0 else "normal", fill=fill)
        for number, line in enumerate(box.lines)
        for fill in [_BAD if box.missing and number == 1 else _INK if number == 0 else _PALE]
    ]
    # An inner <svg> cuts off text that is wider than the box.
    return (
        f'<g data-node="{escape(box.id)}"><title>{escape(box.told)}</title>'
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{_WIDTH}" height="{box.height:.1f}" rx="6" fill="#ffffff" '
        f'stroke="{colour}" stroke-width="{3 if box.asked else 1.5}"{dash}/>'
        f'<svg x="{box.x:.1f}" y="{box.y:.1f}" width="{_WIDTH - 6}" height="{box.height:.1f}">{"".join(rows)}</svg></g>'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", fill: str = _INK) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text {place} fill="{fill}">{escape(text)}</text>'


def _short(text: str, most: int = _SIGNS) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"

"""Write a lineage as text: what was asked for, what it came from, and what came from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from components.lineage.graph import INVERSE, Edge, Kind, Lineage, Node, edges_from, edges_to

_STEP: Final = "   "


def to_text(lineage: Lineage) -> str:
    """Return a lineage as a tree of lines. A thing is shown with its facts once, and later only by its name."""
    return "\n".join(_Tree(lineage).lines()) + "\n"


class _Tree:
    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._nodes = {node.id: node for node in lineage.nodes}
        self._from, self._to = edges_from(lineage), edges_to(lineage)
        self._shown: set[str] = set()

    def lines(self) -> Iterator[str]:
        asked = self._nodes[self._lineage.asked]
        yield title(asked)
        yield from self._facts(asked, "")
        self._shown.add(asked.id)
        for edge in self._from[asked.id]:
            yield from self._branch(edge.relation, edge, edge.target, down=True, indent=_STEP)
        for edge in self._to[asked.id]:
            yield from self._branch(INVERSE[edge.relation], edge, edge.source, down=False, indent=_STEP)
        if missing := self._lineage.missing:
            yield ""
            yield f"{len(missing)} link(s) missing:"
            yield from (f"{_STEP}{title(node)}: {node.missing}" for node in missing)

    def _branch(self, said: str, edge: Edge, end: str, *, down: bool, indent: str) -> Iterator[str]:
        node = self._nodes[end]
        again = end in self._shown
        note = f" ({edge.note})" if edge.note else ""
        yield f"{indent}{said}{note}: {title(node)}{', see above' if again and node.kind is not Kind.PERSON else ''}"
        if again:
            return
        self._shown.add(end)
        yield from self._facts(node, indent)
        # The people of a label are shown with it, whichever direction the walk came from.
        if down or node.kind is Kind.LABEL:
            for deeper in self._from[end]:
                if deeper is not edge:
                    yield from self._branch(deeper.relation, deeper, deeper.target, down=True, indent=indent + _STEP)
        if not down:
            for deeper in self._to[end]:
                yield from self._branch(
                    INVERSE[deeper.relation], deeper, deeper.source, down=False, indent=indent + _STEP
                )

    def _facts(self, node: Node, indent: str) -> Iterator[str]:
        if node.missing:
            yield f"{indent}{_STEP}! {node.missing}"
        yield from (f"{indent}{_STEP}- {name}: {value}" for name, value in node.facts.items())


def title(node: Node) -> str:
    """Return the kind and name of a node.

    A summary of labels is shown without its name, because that is the dataset's digest and says nothing new.
    """
    return "labels" if node.kind is Kind.LABELS else f"{node.kind} {node.name}"

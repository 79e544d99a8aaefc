"""The lineage of a frame, a dataset, a model or a release: nodes, and edges from each thing to what it came from.

This module holds values only. `chain` finds them; `text` and `svg` show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from inspection.codec import Document, Part

_MAX_TEXT: Final = 300


class Kind(StrEnum):
    """The kind of a node. The kinds are in order, from a person's label to a device."""

    PERSON = "person"
    FRAME = "frame"
    LABEL = "label"
    LABELS = "labels"
    DATASET = "dataset"
    RUN = "run"
    VERSION = "version"
    RELEASE = "release"
    DEVICE = "device"


class Relation(StrEnum):
    """The meaning of an edge, read from its source to its target."""

    DRAWN_BY = "drawn by"
    VERIFIED_BY = "verified by"
    LABELS = "labels"
    HOLDS = "holds"
    TRAINED_ON = "trained on"
    REGISTERED_FROM = "registered from"
    RELEASE_OF = "release of"
    RUNS = "runs"
    WILL_RUN = "will run"
    JUDGED_BY = "judged by"


INVERSE: Final[Mapping[Relation, str]] = {
    Relation.DRAWN_BY: "drew",
    Relation.VERIFIED_BY: "verified",
    Relation.LABELS: "labelled by",
    Relation.HOLDS: "held by",
    Relation.TRAINED_ON: "taught",
    Relation.REGISTERED_FROM: "registered as",
    Relation.RELEASE_OF: "released as",
    Relation.RUNS: "run by",
    Relation.WILL_RUN: "to be run by",
    Relation.JUDGED_BY: "judged",
}
"""The meaning of an edge, read from its target to its source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node(Part):
    """One thing of a lineage.

    name: a digest, a device, `model/version`, a run's id or a person's id. facts: what is known of the thing, in the
    order in which it is shown. missing: why the thing cannot be read; '' where it can.
    """

    kind: Kind
    name: str
    facts: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""

    @property
    def id(self) -> str:
        """`<kind>:<name>`, which is unique in a lineage."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge(Part):
    """The source came from the target, or concerns it. note: a split or a count; '' where there is none."""

    source: str
    target: str
    relation: Relation
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage(Document):
    """The answer to one question. asked: the id of the node that was asked for, which comes first in `nodes`."""

    asked: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def __post_init__(self) -> None:
        known = {node.id for node in self.nodes}
        if len(known) != len(self.nodes):
            raise ValueError("expected each node once")
        loose = {end for edge in self.edges for end in (edge.source, edge.target)} - known
        if loose or self.asked not in known:
            raise ValueError(f"expected edges between nodes that are there, but got {sorted(loose) or self.asked}")

    @property
    def missing(self) -> tuple[Node, ...]:
        """The nodes of the chain that are missing."""
        return tuple(node for node in self.nodes if node.missing)


class LineageBuilder:
    """Collects nodes and edges, and keeps each one once."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._edges: dict[tuple[str, str, Relation], Edge] = {}

    def has_edges_from(self, node_id: str) -> bool:
        """Return whether an edge leads from this node to something that it came from."""
        return any(source == node_id for source, _, _ in self._edges)

    def add(self, kind: Kind, name: str, facts: Mapping[str, object] | None = None, *, missing: str = "") -> str:
        """Add a node, unless it is there already, and return its id. Empty facts (None, '') are left out."""
        said = {_text(key): _text(value) for key, value in (facts or {}).items() if value not in (None, "")}
        node = Node(kind=kind, name=_text(name), facts=said, missing=_text(missing))
        return self._nodes.setdefault(node.id, node).id

    def link(self, source: str, relation: Relation, target: str, note: object = "") -> None:
        """Add an edge, unless it is there already."""
        edge = Edge(source=source, target=target, relation=relation, note=_text(note))
        self._edges.setdefault((source, target, relation), edge)

    def build(self, asked: str) -> Lineage:
        """Return the lineage. The node that was asked for comes first."""
        nodes = [self._nodes[asked], *(node for node in self._nodes.values() if node.id != asked)]
        return Lineage(asked=asked, nodes=tuple(nodes), edges=tuple(self._edges.values()))


def edges_from(lineage: Lineage) -> Mapping[str, list[Edge]]:
    """Return, by node id, the edges to what a node came from."""
    return _by(lineage.nodes, ((edge.source, edge) for edge in lineage.edges))


def edges_to(lineage: Lineage) -> Mapping[str, list[Edge]]:
    """Return, by node id, the edges from what came from a node."""
    return _by(lineage.nodes, ((edge.target, edge) for edge in lineage.edges))


def _by(nodes: Iterable[Node], edges: Iterator[tuple[str, Edge]]) -> dict[str, list[Edge]]:
    found: dict[str, list[Edge]] = {node.id: [] for node in nodes}
    for end, edge in edges:
        found[end].append(edge)
    return found


def _text(value: object) -> str:
    """Return a value as one line of printable characters, at most `_MAX_TEXT` long.

    Devices wrote much of this text, and much comes from fields of other programs.
    """
    text = "".join(sign if sign.isprintable() else "�" for sign in str(value))
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"

"""The lineage of a frame, a dataset, a model or a release: nodes, and edges from each thing to what it came from.

Values only. `lineage_trace` finds them, `lineage_text` and `lineage_svg` show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from inspection.codec import Document, Part

_MAX_TEXT: Final = 300


class Kind(StrEnum):
    """What a node is, in the order of the way from a person's label to a device."""

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
    """What an edge says, read from its source to its target."""

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
"""The same, read from target to source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node(Part):
    """One thing. name: a digest, a device, `model/version`, a run's id, a person's id.

    facts: what is known of it, in the order in which it is shown. missing: why it is not there to be looked at, ''
    where it is.
    """

    kind: Kind
    name: str
    facts: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""

    @property
    def id(self) -> str:
        """`<kind>:<name>`; no two nodes have the same."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge(Part):
    """source came from target, or concerns it. note: a split, a count; '' where there is nothing to say."""

    source: str
    target: str
    relation: Relation
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage(Document):
    """asked: the id of the node that was asked for, which is the first."""

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
        """The links of the chain that are not there."""
        return tuple(node for node in self.nodes if node.missing)


class LineageBuilder:
    """Collects nodes and edges, each once."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._edges: dict[tuple[str, str, Relation], Edge] = {}

    def has_edges_from(self, node_id: str) -> bool:
        """Whether anything is known of what a node came from."""
        return any(source == node_id for source, _, _ in self._edges)

    def add(self, kind: Kind, name: str, facts: Mapping[str, object] | None = None, *, missing: str = "") -> str:
        """Add a thing, once; its id. Facts that say nothing (None, '') are left out."""
        said = {_text(key): _text(value) for key, value in (facts or {}).items() if value not in (None, "")}
        node = Node(kind=kind, name=_text(name), facts=said, missing=_text(missing))
        return self._nodes.setdefault(node.id, node).id

    def link(self, source: str, relation: Relation, target: str, note: object = "") -> None:
        """Add an edge, once."""
        edge = Edge(source=source, target=target, relation=relation, note=_text(note))
        self._edges.setdefault((source, target, relation), edge)

    def build(self, asked: str) -> Lineage:
        """The lineage; the node that was asked for comes first."""
        nodes = [self._nodes[asked], *(node for node in self._nodes.values() if node.id != asked)]
        return Lineage(asked=asked, nodes=tuple(nodes), edges=tuple(self._edges.values()))


def edges_from(lineage: Lineage) -> Mapping[str, list[Edge]]:
    """Node -> edges to what it came from."""
    return _by(lineage.nodes, ((edge.source, edge) for edge in lineage.edges))


def edges_to(lineage: Lineage) -> Mapping[str, list[Edge]]:
    """Node -> edges of what came from it."""
    return _by(lineage.nodes, ((edge.target, edge) for edge in lineage.edges))


def _by(nodes: Iterable[Node], edges: Iterator[tuple[str, Edge]]) -> dict[str, list[Edge]]:
    found: dict[str, list[Edge]] = {node.id: [] for node in nodes}
    for end, edge in edges:
        found[end].append(edge)
    return found


def _text(value: object) -> str:
    """One line of signs that can be printed: much of this was written by devices and in other programs' fields."""
    text = "".join(sign if sign.isprintable() else "�" for sign in str(value))
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"

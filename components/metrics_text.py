"""Metrics in the text form of Prometheus, for servers without a library for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. name: of a counter, with the ending `_total`. samples: labels and value of each series."""

    name: str
    what: str
    samples: tuple[tuple[Labels, float], ...]
    kind: Literal["gauge", "counter"] = "gauge"
    labels: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"the name of a counter, and of nothing else, ends with _total, but got {self.name}")
        for given, _ in self.samples:
            if set(given) != set(self.labels):
                raise ValueError(f"{self.name} has the labels {self.labels}, but a sample has {tuple(given)}")


def metrics_text(metrics: Iterable[Metric]) -> bytes:
    """The metrics as Prometheus reads them.

    >>> print(metrics_text([Metric("a_total", "All.", (({"to": 's"3'}, 2),), "counter", ("to",))]).decode(), end="")
    # HELP a_total All.
    # TYPE a_total counter
    a_total{to="s\\"3"} 2
    """
    lines = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.what}", f"# TYPE {metric.name} {metric.kind}"]
        for labels, value in metric.samples:
            inside = ",".join(f'{name}="{_escaped(labels[name])}"' for name in metric.labels)
            lines.append(f"{metric.name}{{{inside}}} {_number(value)}" if inside else f"{metric.name} {_number(value)}")
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(sign, sign) for sign in text)


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))

"""What the reconciler counts, as Prometheus' text format. One registry for each process that reconciles."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

if TYPE_CHECKING:  # it brings the client of S3, which a reconciler without products does not need
    from reconciler.decisions import Decision

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Counters:
    """The counters of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._decisions = Counter(
            "kizu_reconciler_decisions", "Decisions that were written.", ("use_case", "act"), registry=self._registry
        )
        self._passes = Counter("kizu_reconciler_passes", "Passes that came to their end.", registry=self._registry)
        self._failures = Counter(
            "kizu_reconciler_failures", "Passes, and acts of a pass, that went wrong.", registry=self._registry
        )
        self._hints = Counter("kizu_reconciler_hints", "Webhooks that were taken.", registry=self._registry)
        self._seconds = Gauge("kizu_reconciler_pass_seconds", "How long the last pass took.", registry=self._registry)
        self._last = Gauge(
            "kizu_reconciler_last_pass_timestamp_seconds",
            "When the last pass came to its end.",
            registry=self._registry,
        )
        self._products = Gauge(
            "kizu_reconciler_products",
            "Products that are served, and files that are damaged.",
            ("state",),
            registry=self._registry,
        )
        self._acting = Gauge(
            "kizu_reconciler_acting", "1 while this replica acts, 0 while another one does.", registry=self._registry
        )

    def decided(self, decisions: Iterable[Decision]) -> None:
        """Count decisions that were written."""
        for decision in decisions:
            self._decisions.labels(decision.use_case, decision.act).inc()

    def passed(self, seconds: float, now: datetime) -> None:
        """Count a pass that came to its end."""
        self._passes.inc()
        self._seconds.set(seconds)
        self._last.set(now.timestamp())

    def failed(self, times: int = 1) -> None:
        """Count what went wrong."""
        self._failures.inc(times)

    def hinted(self) -> None:
        """Count a webhook."""
        self._hints.inc()

    def serves(self, products: int, damaged: int) -> None:
        """Note how many products there are."""
        self._products.labels("served").set(products)
        self._products.labels("damaged").set(damaged)

    def acts(self, acting: bool) -> None:
        """Note whether this replica acts."""
        self._acting.set(int(acting))

    def text(self) -> bytes:
        """All of it, for `GET /metrics`."""
        return generate_latest(self._registry)

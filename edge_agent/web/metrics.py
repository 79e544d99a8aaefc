"""`GET /metrics`: the metrics of the device in the text format of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from edge_agent.result import Result
from edge_agent.status import Gauges

_INFER_S: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)
_DECIDE_S: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0, 300.0)


class Metrics:
    """The metrics of one device. Counters that the outbox keeps survive a restart; the histograms do not."""

    def __init__(self, gauges: Gauges) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Gathered(gauges))
        self._infer = Histogram(
            "kizu_inference_seconds", "From decoded image to verdict.", buckets=_INFER_S, registry=self._registry
        )
        self._decide = Histogram(
            "kizu_decision_seconds",
            "From capture to verdict, waiting included; by the camera's clock.",
            buckets=_DECIDE_S,
            registry=self._registry,
        )

    def observe(self, result: Result) -> None:
        """Add the times of one inspected frame to the histograms."""
        if result.infer_ms is not None:
            self._infer.observe(result.infer_ms / 1000)
        self._decide.observe(max(0.0, (result.decided_at - result.captured_at).total_seconds()))

    def text(self) -> bytes:
        """The metrics as Prometheus reads them."""
        return generate_latest(self._registry)


class _Gathered(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Any]:
        gauges, outbox = self._gauges, self._gauges.outbox
        yield _counter("kizu_frames", "Frames inspected.", outbox.total("frames"))
        yield _counters("kizu_verdicts", "Frames by verdict.", "verdict", outbox.counts("verdict"))
        yield _counters("kizu_frames_rejected", "Frames set aside, by reason.", "reason", outbox.counts("rejected"))
        yield _counters(
            "kizu_frames_not_inspected",
            "Triggers that got no verdict, by reason.",
            "reason",
            outbox.counts("not_inspected"),
        )
        yield _counters(
            "kizu_frames_doubted", "Frames whose picture says nothing, or in which a rule cannot be measured.",
            "reason", outbox.counts("doubted"),
        )  # fmt: skip
        yield _counters("kizu_rules_broken", "Frames by broken acceptance rule.", "rule", outbox.counts("rule"))
        yield _counters("kizu_parts", "Answers about parts, by verdict.", "verdict", outbox.counts("part"))
        yield _counters("kizu_parts_ended", "Answers about parts, by why.", "end", outbox.counts("part_end"))
        yield _counters(
            "kizu_parts_late", "Pictures that came after the answer, by camera.", "camera", outbox.counts("part_late")
        )
        yield _counters(
            "kizu_parts_unnamed", "Pictures without a part_id, by camera.", "camera", outbox.counts("part_unnamed")
        )
        yield _counters("kizu_frames_skipped", "Stale frames dropped, by camera.", "camera", outbox.counts("skipped"))
        yield _counters("kizu_outbox_dropped", "Items that were dropped, by class.", "class", outbox.counts("dropped"))
        yield _counters(
            "kizu_rejected_files_removed",
            "Files that were set aside and are no longer kept, by camera.",
            "camera",
            outbox.counts("rejected_removed"),
        )
        yield _counter(
            "kizu_over_quota", "Frames not sent back because a quota was used up.", outbox.total("over_quota")
        )
        yield _counter("kizu_state_files_damaged", "State files that were set aside.", gauges.damaged.count())
        waiting = GaugeMetricFamily("kizu_outbox_items", "Items that wait to be sent, by class.", labels=["class"])
        for name, number in outbox.depth().items():
            waiting.add_metric([name], number)
        yield waiting
        yield GaugeMetricFamily("kizu_outbox_bytes", "Bytes that wait to be sent.", outbox.bytes_used())
        yield GaugeMetricFamily(
            "kizu_outbox_in_memory",
            "Writes that wait in memory because the state folder cannot be written.",
            outbox.in_memory(),
        )
        yield GaugeMetricFamily(
            "kizu_disk_free_bytes", "Free bytes on the file system of the state folder.", gauges.free_bytes()
        )
        yield GaugeMetricFamily("kizu_ready", "1: a frame that comes now is inspected.", float(gauges.ready()))
        yield GaugeMetricFamily(
            "kizu_uptime_seconds", "Seconds since the agent started.", time.monotonic() - gauges.started
        )
        connected = GaugeMetricFamily("kizu_connected", "1: the last attempt succeeded.", labels=["to"])
        connected.add_metric(["s3"], float(not gauges.uploader.problem))
        if gauges.result_publisher is not None:
            connected.add_metric(["mqtt"], float(not gauges.result_publisher.problem))
        yield connected
        running = gauges.active.get()
        release = GaugeMetricFamily("kizu_release_info", "The release that inspects.", labels=["digest", "version"])
        if running is not None:
            release.add_metric([running.digest, str(running.release.version)], 1)
        yield release
        yield from _of_candidate(gauges)


def _of_candidate(gauges: Gauges) -> Iterator[Any]:
    """What the candidate beside the release decided; nothing where there is none."""
    tally = gauges.shadow.tally()
    if tally is None:
        return
    numbers = (
        ("kizu_shadow_frames", "Frames that the candidate judged beside the release.", tally.frames),
        ("kizu_shadow_disagreed", "Frames on which the candidate decided otherwise.", tally.disagreed),
        ("kizu_shadow_skipped", "Frames of its share that the candidate had no time for.", tally.skipped),
    )
    for name, what, value in numbers:
        family = CounterMetricFamily(name, what, labels=["digest"])
        family.add_metric([tally.release_digest], value)
        yield family
    judges = GaugeMetricFamily("kizu_shadow_judges", "1: the candidate judges.", labels=["digest"])
    judges.add_metric([tally.release_digest], float(not tally.reason))
    yield judges


def _counter(name: str, what: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(name, what, value)


def _counters(name: str, what: str, label: str, counts: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, what, labels=[label])
    for key, value in counts.items():
        family.add_metric([key], value)
    return family

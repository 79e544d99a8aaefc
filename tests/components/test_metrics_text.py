"""Metrics in the text form of Prometheus, read back by its own parser."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from components.metrics_text import Metric, metrics_text


def test_what_is_written_is_read_back_by_prometheus_own_parser():
    """Labels with quotes, backslashes and line ends, and numbers of each kind, come back as they were."""
    label = 'a "name"\\ with\nall of it, 日本'
    written = [
        Metric("kizu_a", "A gauge.", (({"group": label}, 1.5), ({"group": "b"}, float("nan"))), labels=("group",)),
        Metric("kizu_b_total", "A counter.", (({}, 12_345_678),), "counter"),
        Metric("kizu_empty", "Nothing yet.", (), labels=("group",)),
    ]
    families = {family.name: family for family in text_string_to_metric_families(metrics_text(written).decode())}
    assert families["kizu_a"].samples[0].labels == {"group": label}
    assert families["kizu_a"].samples[0].value == 1.5
    assert families["kizu_b"].type == "counter"
    assert families["kizu_b"].samples[0].value == 12_345_678
    assert families["kizu_empty"].samples == []


@pytest.mark.parametrize(("name", "kind"), [("kizu_a", "counter"), ("kizu_a_total", "gauge")])
def test_the_name_of_a_counter_says_so(name, kind):
    """Counters end with _total, and nothing else does."""
    with pytest.raises(ValueError, match="_total"):
        Metric(name, "x", (), kind)


def test_a_sample_has_the_labels_of_its_metric():
    """A sample with other labels than its metric names is refused when it is made."""
    with pytest.raises(ValueError, match="has the labels"):
        Metric("kizu_a", "x", (({"other": "1"}, 1.0),), labels=("group",))

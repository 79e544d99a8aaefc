"""What an approver reads first, and that MLflow takes it."""

import dataclasses
from datetime import UTC, datetime

import pytest

from components.registry.model_card import ModelOrigin, model_card, shortened
from components.registry.register import RegistrationError, register
from components.stores.models.evaluation_report import (
    ChampionScores,
    ClassScores,
    Deployed,
    Difference,
    EvaluationReport,
    Int8Variant,
    Rate,
    Scores,
    Slice,
)
from components.stores.models.gate import judge_by
from components.stores.models.latency_report import LatencyReport
from components.stores.models.registry import INT8_MODEL_FILE, MAX_DESCRIPTION, MODEL_CARD
from inspection.acceptance import Acceptance, AcceptanceRule
from inspection.decode import Nms
from inspection.documents import InputSpec
from inspection.image import sha256_of
from inspection.verdict import ClassThreshold
from tests.components.model_runs import DATASET, evaluated_run, unique_use_case

SHA = "ab" * 32
RATE = Rate(count=1, n=8)
SCORES = Scores(
    images=40, parts=16, boxes=20, map50=0.8, map50_95=0.5, precision=0.9, recall=0.9, escape=RATE, overkill=RATE,
    map50_by_class={"scratch": 0.8},
    by_class={"scratch": ClassScores(recall=RATE, escape=RATE, overkill=RATE, precision=RATE, map50=0.8)},
    review=Rate(count=3, n=16), escapes_in_review=1, escape_by_location=Rate(count=2, n=8),
    by_reason={"control": Slice(recall=RATE, escape=RATE, overkill=RATE, review=RATE)},
)  # fmt: skip
ORIGIN = ModelOrigin(
    run_id="r" * 32, label_version=7, code_digest="source:c0de", code_revision="d" * 40, pipeline_run="kfp-1",
    manifest_uri="s3://kizu-datasets/manifests/x.json", packages={"torch": "2.14.1"}, pages=True,
    base_weights_sha256="ba5e" * 16,
)  # fmt: skip


def card_of(write=model_card, use_case=None, **changes):
    use_case = use_case or unique_use_case(split={"seed": 5})
    deployed = Deployed(threads=2, frames=60, latency_ms_p50=8.1, latency_ms_p95=9.5, peak_memory_bytes=120_000_000)
    report = EvaluationReport(
        **{
            "model_sha256": SHA, "dataset_digest": DATASET, "use_case_digest": SHA, "classes": ("scratch",),
            "preprocess": InputSpec(width=64, height=64), "nms": Nms(), "threshold_source": "validation",
            "thresholds": {"scratch": ClassThreshold(0.5, 0.25)}, "validation": SCORES, "test": SCORES,
            "int8": Int8Variant(kept=True, reason="as good", model_sha256="cd" * 32),
            "champion": ChampionScores(
                version=4, model_sha256=SHA, test=dataclasses.replace(SCORES, map50=0.7),
                map50_difference=Difference(value=0.1, low=0.02, high=0.2, parts=16, resamples=100, seed=0),
            ),
            **changes,
        }
    )  # fmt: skip
    latency = LatencyReport(model_sha256=SHA, measured_at=datetime(2025, 4, 1, 12, tzinfo=UTC), deployed=deployed)
    return write(report, judge_by(report, use_case, latency), use_case, ORIGIN, latency)


@pytest.mark.parametrize(("seen", "told"), [(3, True), (0, False), (None, False)])
def test_the_card_says_that_the_champion_learned_from_test_images(seen, told):
    """An approver must not take a champion's advantage on images that it knows for a better model."""
    champion = ChampionScores(version=4, model_sha256=SHA, test=SCORES, seen_test_images=seen)
    assert ("The champion learned from 3 of these 40 test images" in card_of(champion=champion)) is told


def test_the_card_says_what_it_is_where_it_comes_from_and_how_it_will_behave():
    """The card has gate, champion, lineage, latency, int8 and plots, and fits into MLflow's column."""
    card = card_of()
    for said in (
        "mAP50 0.800", "**review rate** 0.188 (3/16, 95 %", "(`bound: point`)", "| review_rate |", "| class scratch |",
        "Escapes that are uncertain, so that a person looks at them: 1 of 1.",
        "**Escape by location** 0.250 (2/8, 95 % 0.07-0.59): of these parts, 1 is rejected only because",
        "| By reason of capture | Escape rate | Overkill rate | Review rate | Recall |", "Only `control` images",
        "| escape_rate | 0.125 (1/8, 95 %", "| champion, version 4 | 0.700 |",
        "+0.100 (95 % +0.020 to +0.200, 16 parts)", f"| Dataset | `{DATASET}` |", "| Manifest | `s3://kizu-datasets/",
        "| Label-store version | 7 |", "| Split seed | 5 |", "| Code | `source:c0de` |",
        "| Detector | yolov8 n |",
        f"| Code revision | `{'d' * 40}`",
        "| Pipeline run | `kfp-1` |", f"| Base weights | `{'ba5e' * 16}` |",
        "torch 2.14.1", "p95 9.5 ms", "measured at 2025-04-01 12:00 UTC", "120 MB", "**int8** kept beside fp32",
        f"get-artifact?path=evaluation%2Fplots%2Fscores.svg&run_uuid={'r' * 32}", "set this version's tag `approval`",
    ):  # fmt: skip
        assert said in card
    assert card_of(shortened) == card
    assert len(card) <= MAX_DESCRIPTION


def test_the_card_says_by_which_rules_the_rates_were_counted():
    """An approver must know which marks count as defects; without rules, the card says nothing of them."""
    rules = Acceptance(rules=(AcceptanceRule(name="long", classes=("scratch",), max_longest_side_mm=2.0),))
    card = card_of(acceptance=rules)
    assert "| long | scratch | reject | longest side up to 2 mm |" in card
    assert "a part whose defects are all tolerated is good" in card
    assert "Acceptance rule" not in card_of()


def test_a_card_that_is_too_long_keeps_the_gate_and_says_where_the_rest_is():
    """The card of two hundred cameras is cut to the width of PostgreSQL's column."""
    cameras = {f"plant/line-{n} camera": Slice(recall=RATE, escape=RATE, overkill=RATE) for n in range(200)}
    test = dataclasses.replace(SCORES, by_camera=cameras)
    assert len(card_of(test=test)) > MAX_DESCRIPTION
    short = card_of(shortened, test=test)
    assert len(short) <= MAX_DESCRIPTION
    assert "| escape_rate |" in short
    assert short.endswith(f"artifact `{MODEL_CARD}`.*")
    assert len(card_of(lambda *a: shortened(*a, most=300))) <= 300


def test_names_make_no_markup():
    """A class name with markup stays the text of one table cell."""
    name = "a|b\n<img src=x onerror=alert(1)>[x](javascript:alert(1))"
    test = dataclasses.replace(SCORES, by_class={name: SCORES.by_class["scratch"]})
    card = card_of(test=test)
    assert "<img" not in card
    assert "| a\\|b &lt;img src=x onerror=alert(1)>\\[x](javascript:alert(1)) |" in card


@pytest.fixture
def use_case():
    return unique_use_case()


def test_a_version_carries_card_pipeline_run_and_int8_model(registry, use_case):
    """The card is the version's description and an artifact; a tag has the digest of the int8 model."""
    run_id = evaluated_run(registry, use_case, int8=b"small")
    version = register(registry, run_id, use_case, 7, pipeline_run="kfp-1", datasets="kizu-datasets")
    assert version.tags["model_int8_sha256"] == sha256_of(b"small")
    assert version.tags["pipeline_run"] == "kfp-1"
    description = registry._client.get_model_version(use_case.name, "1").description
    assert description == registry.get_artifact(run_id, MODEL_CARD).decode()
    assert f"`s3://kizu-datasets/manifests/{DATASET}.json`" in description
    assert sha256_of(b"small") in description


def test_an_int8_model_that_was_not_evaluated_is_not_registered(registry, use_case):
    """An int8 model that was replaced after the evaluation is refused."""
    run_id = evaluated_run(registry, use_case, int8=b"small")
    registry.put_artifact(run_id, INT8_MODEL_FILE, b"other")
    with pytest.raises(RegistrationError, match="was evaluated, but the model is"):
        register(registry, run_id, use_case, 7)
    assert registry.versions(use_case.name) == []

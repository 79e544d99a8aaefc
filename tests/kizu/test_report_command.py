"""`kizu labels report` as a process, and the same report as the last step of the labeling pipeline."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from kfp import local

from components.reporting.component import report_labels
from components.stores.labels.store import LabelEvent, LabelStatus, LabelStore
from components.stores.raw_images.images import RawImages, capture_id_for
from components.use_case import load_use_case
from inspection.documents import Capture, Reason
from inspection.image import sha256_of
from tests.kizu.command_line import REPOSITORY, kizu

USE_CASE = REPOSITORY / "use_cases" / "metal-tag.yaml"
AT = datetime(2025, 3, 3, 9, tzinfo=UTC)


@pytest.fixture
def environment(s3) -> dict[str, str]:
    """The labeling pipeline's own identity, one approved image, and no MLflow."""
    data = cv2.imencode(".png", np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8))[1].tobytes()
    sha256 = sha256_of(data)
    capture = Capture(
        capture_id=capture_id_for(sha256, "initial", AT), sha256=sha256, device="line1", camera="top",
        captured_at=AT, reason=Reason.INITIAL,
    )  # fmt: skip
    stored = RawImages(s3.store("importer"), s3.settings("importer").bucket("raw")).put(data, capture, site="tests")
    approved = LabelEvent(
        event_id="report-command", use_case=load_use_case(USE_CASE).name, image_uri=stored.uri, sha256=sha256, width=64,
        height=48, boxes=(), status=LabelStatus.APPROVED, at=AT, group="p", source="test", annotator="1", verifier="2",
    )  # fmt: skip
    LabelStore.open(s3.settings("labeling")).append([approved])
    return s3.environment("labeling") | {"MLFLOW_TRACKING_URI": ""}


def test_the_report_is_two_files_and_says_what_it_saw(environment, tmp_path):
    """Both files are written and the counts printed; without MLflow the command says so and still writes the report."""
    page, summary = tmp_path / "out" / "labels.html", tmp_path / "labels.md"
    result = kizu("labels", "report", "-u", USE_CASE, "-o", page, "--markdown", summary, home=tmp_path, **environment)
    assert result.returncode == 0, result.stderr
    assert "1 approved images, 0 boxes" in result.stdout
    assert "no MLflow is configured" in result.stdout
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "| line1 | top | 1 | 1 (100%) |" in summary.read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} >= {"labels.html", "labels.md"}
    assert not list(tmp_path.rglob("*.new"))


def test_a_store_that_is_away_is_said_and_nothing_is_written(environment, tmp_path):
    """A label store that does not answer is an error in one line, and no page is written."""
    page = tmp_path / "labels.html"
    gone = environment | {"KIZU_S3_ENDPOINT": "http://127.0.0.1:9"}
    result = kizu("labels", "report", "-u", USE_CASE, "-o", page, home=tmp_path, **gone)
    assert result.returncode == 1
    assert result.stderr.startswith("kizu: cannot open s3://kizu-labels/events")
    assert "127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.stderr
    assert not page.exists()


# kfp warns of every image that is not called python; what runs here is this environment, which has all of it.
@pytest.mark.filterwarnings("ignore:You may be attemping to run a task:RuntimeWarning")
def test_a_run_of_the_pipeline_shows_summary_and_page(environment, tmp_path, monkeypatch):
    """The step, run by kfp on this machine, has two artifacts that kfp's page can show: Markdown and HTML."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path), raise_on_error=True)
    task = report_labels(use_case=load_use_case(USE_CASE).to_json(), label_version=-1)
    summary, page = task.outputs["summary"], task.outputs["page"]
    assert (summary.schema_title, page.schema_title) == ("system.Markdown", "system.HTML")
    assert "1 approved images" in Path(summary.path).read_text(encoding="utf-8")
    assert "</html>" in Path(page.path).read_text(encoding="utf-8")

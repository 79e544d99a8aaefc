"""The model card in MLflow's own page, in a real Chromium."""

import os
import shutil

import pytest

from components.evaluation.curves import draw_curves
from components.evaluation.matching import Scored
from components.evaluation.stored import draw_plots
from components.registry.register import register
from components.stores.models.evaluation_report import EvaluationReport
from components.stores.models.registry import EVALUATION_REPORT, REPORT_PAGE
from inspection.geometry import Box, Detection, LabelledBox
from tests.components.model_runs import DATASET, evaluated_run, unique_use_case

CHROMIUM = shutil.which("chromium")
A = Box(10, 10, 40, 40)
IMAGES = [
    Scored("p1", 300, 200, (LabelledBox("scratch", A),), (Detection("scratch", 0.9, A),)),
    Scored("p2", 300, 200, (), (Detection("scratch", 0.3, A),)),
]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_an_approver_sees_gate_lineage_and_plots_on_the_page_of_the_version(registry, mlflow_uri):
    """Tables are shown as tables, and both plots are loaded from the run's artifacts."""
    from playwright.sync_api import expect, sync_playwright

    use_case = unique_use_case()
    run_id = evaluated_run(registry, use_case)
    report = EvaluationReport.from_json(registry.get_artifact(run_id, EVALUATION_REPORT))
    for name, svg in draw_plots(report, draw_curves(IMAGES, ("scratch",), report.thresholds)).items():
        registry.put_artifact(run_id, f"evaluation/plots/{name}.svg", svg.encode())
    registry.put_artifact(run_id, REPORT_PAGE, b"<p>the page</p>")
    register(registry, run_id, use_case, 7, pipeline_run="kfp-1", datasets="kizu-datasets")
    account = {name: os.environ.get(f"MLFLOW_TRACKING_{name.upper()}", "") for name in ("username", "password")}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        page = browser.new_context(http_credentials=account if account["username"] else None).new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{mlflow_uri}/#/models/{use_case.name}/versions/1", wait_until="load")
        card = page.get_by_test_id("note-editor-preview-content")
        expect(card.get_by_role("cell", name="escape_rate")).to_be_visible(timeout=60_000)
        expect(card.get_by_role("cell", name=DATASET, exact=True)).to_be_visible()
        expect(card.get_by_role("cell", name="kfp-1")).to_be_visible()
        expect(card.get_by_role("img")).to_have_count(2)
        page.wait_for_function(
            "Array.from(document.images).filter(i => i.src.includes('get-artifact')).every(i => i.naturalWidth > 100)"
        )
        browser.close()

"""The report on labels, of a real label store, raw bucket and MLflow; and as a page in a real Chromium."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import cv2
import pytest

from components.generated_parts.photographs import LineGenerator
from components.reporting.page import to_html, to_markdown
from components.reporting.report import ReportOptions, build_report
from components.reporting.suspects import Doubt
from components.stores.labels.store import LabelStore
from inspection.image import decode_image
from tests.components.evaluation.brightness_detector import MARK
from tests.components.reporting.report_world import HOSTILE, ReportWorld, picture

CHROMIUM = shutil.which("chromium")
NOW = datetime(2025, 3, 5, 12, tzinfo=UTC)
OPTIONS = ReportOptions()


@pytest.fixture
def world(installation, registry, mlflow) -> ReportWorld:
    """A use case of its own; images of other tests lie in the same bucket, under other devices."""
    return ReportWorld(installation, registry, mlflow)


def build(world, options=OPTIONS, **more):
    return build_report(world.use_case, world.settings, options, NOW, **more)


def test_the_champion_is_held_against_the_labels(world):
    """A label as it was shown, one taken away, and three that it contradicts."""
    champion = world.roll_out()
    made = world.fill(champion)
    report = build(world)
    looks = report.looks
    assert (looks.looked_at, looks.approved, looks.unreadable, looks.champion) == (5, 5, 0, champion)
    assert looks.counts == {Doubt.MISSING_BOX: 1, Doubt.NOTHING_THERE: 1, Doubt.OTHER_CLASS: 1}
    accused = {item.suspect.doubt: item.suspect.shots[0].event.sha256 for item in looks.shown}
    assert accused == {
        Doubt.MISSING_BOX: made["missing"], Doubt.NOTHING_THERE: made["nothing"], Doubt.OTHER_CLASS: made["other"],
    }  # fmt: skip
    shown, alone = looks.agreements
    assert (shown.model, shown.prelabelled, shown.images, shown.unchanged, shown.removed) == (champion, True, 2, 1, 1)
    assert (alone.prelabelled, alone.images, alone.added, alone.removed) == (False, 3, 2, 2)
    cameras = {row.camera: row for row in report.coverage.cameras if row.device == world.device}
    assert (cameras["top"].images, cameras["top"].approved, cameras[HOSTILE].images) == (4, 4, 1)


def test_an_earlier_model_is_asked_what_it_said_then(world):
    """People began from version 1; version 2, the champion now, is not what they were shown."""
    first = world.roll_out()
    world.approve(picture(200, 11), [("scratch", MARK)], prelabel_model=first)
    world.approve(picture(200, 12), [("scratch", MARK)], prelabel_model=f"{world.use_case.name}/99")
    second = world.roll_out()
    assert second != first
    rows = build(world).looks.agreements
    assert [(row.model, row.prelabelled, row.images, row.unchanged) for row in rows] == [
        (first, True, 1, 1), (second, False, 1, 1),
    ]  # fmt: skip


def test_without_a_champion_or_an_mlflow_the_report_goes_on_and_says_so(world):
    """The report is made if nothing was rolled out, if no MLflow is configured, and if MLflow does not answer."""
    world.approve(picture(250, 21), [])
    away = world.settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    none = world.settings.model_copy(update={"mlflow_tracking_uri": None})
    for settings, said in (
        (world.settings, "rolled out"), (none, "MLFLOW_TRACKING_URI"), (away, "cannot be asked"),
    ):  # fmt: skip
        report = build_report(world.use_case, settings, OPTIONS, NOW)
        assert said in report.looks.absent
        assert (report.looks.looked_at, report.looks.suspected) == (1, 0)
        assert len(report.counts.approved) == 1
        assert report.looks.absent.split(":")[0] in to_html(report)
        assert "No champion" in to_markdown(report)


def test_near_duplicates_with_other_labels_are_shown_side_by_side(world):
    """A photograph with a box and its brighter copy without a box are one suspicion with two pictures."""
    line = LineGenerator(seed=3)
    photograph = line.part(1)[0].jpeg
    brighter = cv2.convertScaleAbs(decode_image(photograph), alpha=1.05, beta=6)
    again = cv2.imencode(".jpg", brighter)[1].tobytes()
    pair = {world.approve(photograph, [("scratch", MARK)]), world.approve(again, [])}
    world.approve(line.part(5)[0].jpeg, [])
    looks = build(world).looks
    assert (looks.near_duplicates, looks.counts) == (1, {Doubt.DUPLICATES_DIFFER: 1})
    assert {shot.event.sha256 for shot in looks.shown[0].suspect.shots} == pair
    assert len(looks.shown[0].pictures) == 2


def test_what_is_looked_at_shown_and_read_is_bounded_and_said(world):
    """Two of four images, one of the suspicions; an image whose bytes are gone is counted."""
    champion = world.roll_out()
    for seed in range(31, 34):
        world.approve(picture(250, seed), [])
    world.approve(picture(1, 34), [], image_uri=f"s3://{world.settings.bucket('raw')}/nowhere.png")
    report = build(world, ReportOptions(images=3, suspects=1, captures=0))
    looks = report.looks
    assert (looks.looked_at, looks.unreadable, looks.approved) == (2, 1, 4)
    assert (looks.suspected, len(looks.shown)) == (2, 1)
    assert champion in to_markdown(report)
    assert {row.camera for row in report.coverage.cameras if row.device == world.device} == {None}


def test_a_report_as_of_a_version_knows_nothing_of_later_labels(world):
    """The version that a labeling run ended with."""
    world.approve(picture(9, 41), [])
    version = LabelStore.open(world.settings).version()
    world.approve(picture(9, 42), [])
    report = build(world, label_version=version)
    assert (report.label_version, len(report.counts.approved)) == (version, 1)


def test_markdown_carries_no_markup_from_data(world):
    """A name that is HTML, and one that would end a table's cell."""
    world.fill(world.roll_out())
    text = to_markdown(build(world))
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\|\\`\\#\\*" in text
    widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("| annotator")}
    assert widths == {6}


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_page_stands_alone_shows_both_boxes_and_runs_nothing_from_data(world, tmp_path):
    """Opened as a file, the page causes no error and no request, draws every picture, and shows a script as text."""
    from playwright.sync_api import sync_playwright

    made = world.fill(world.roll_out())
    file = tmp_path / "report.html"
    file.write_text(to_html(build(world)), encoding="utf-8")
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        page = browser.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else 0)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
        page.on("request", lambda asked: asked.url.startswith(("data:", "file:")) or problems.append(asked.url))
        page.goto(file.as_uri(), wait_until="load")
        body = page.locator("body").inner_text()
        assert body.count(HOSTILE) >= 4, "the camera, the annotator, the class and the part"
        assert page.locator("script").count() == 0
        figure = page.locator(f"figure[data-doubt='{Doubt.OTHER_CLASS}']")
        assert made["other"][:12] in figure.inner_text()
        label, model = figure.locator("rect.label"), figure.locator("rect.model")
        assert (label.count(), model.count()) == (1, 1)
        colours = [rect.evaluate("rect => getComputedStyle(rect).stroke") for rect in (label, model)]
        assert colours[0] != colours[1]
        assert "none" not in colours, "the page's policy lets its own style in"
        assert [float(label.get_attribute(name)) for name in ("x", "y", "width", "height")] == [16.0] * 4
        sizes = page.evaluate(
            """() => Promise.all([...document.querySelectorAll('svg.shot image')].map(async shown => {
                const picture = new Image(); picture.src = shown.getAttribute('href'); await picture.decode();
                return [picture.naturalWidth, shown.getBoundingClientRect().width > 0]; }))"""
        )
        assert sizes == [[64, True]] * 3
        assert page.locator("#days rect.approved").count() >= 1
        browser.close()
    assert problems == []

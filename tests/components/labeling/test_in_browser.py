"""Two people work in Label Studio's own pages, in a real Chromium, in Japanese."""

from __future__ import annotations

import dataclasses

import pytest

from demo.accounts import ensure_people
from tests.browser import needs_chromium
from tools.guides.browser import signed_in

TIMEOUT_MS = 90_000
INSTRUCTIONS = "傷に枠を付けてください。"


@pytest.fixture
def japanese(world):
    """Return the use case with instructions in Japanese."""
    labeling = world.use_case.labeling.model_copy(update={"language": "ja", "instructions": INSTRUCTIONS})
    return dataclasses.replace(world, use_case=world.use_case.model_copy(update={"labeling": labeling}))


def picture_width(page):
    """Natural width of the task's picture, in pixels, once the browser has it from S3."""
    picture = page.locator("img[alt='image'], img[alt='LS']").first
    picture.wait_for(state="attached")
    return picture.evaluate(
        "img => img.complete && img.naturalWidth ? img.naturalWidth"
        " : new Promise((ok, no) => { img.onload = () => ok(img.naturalWidth); img.onerror = () => no('not loaded'); })"
    )


@needs_chromium
def test_a_verifier_sees_picture_and_words_in_japanese_and_rejects_with_a_reason(japanese, browser):
    """The picture comes from S3 into the browser; what was clicked and written is what the label store learns."""
    (sha256,) = japanese.put_images(1)
    japanese.label()
    japanese.label_everything()
    japanese.label()
    japanese.verify()
    (task,) = japanese.verification_tasks()
    _, verifier = ensure_people(japanese.stack.layout)
    page = signed_in(browser, japanese.url, verifier, width=1600, height=1000)
    page.goto(f"{japanese.url}/projects/{japanese.project('verification')}/data?task={task['id']}")
    assert picture_width(page) == 200
    page.get_by_text("枠: scratch 1 個").first.wait_for()
    page.get_by_text("差し戻し", exact=False).first.click()
    page.get_by_placeholder("枠のどこに問題がありますか。").fill("右の傷に枠がない")
    page.keyboard.press("Shift+Enter")
    with page.expect_response(lambda answer: "/annotations" in answer.url and answer.request.method == "POST"):
        page.get_by_role("button", name="Submit").click()
    japanese.verify()
    (event,) = japanese.events("rejected")
    assert (event.sha256, event.reason) == (sha256, "右の傷に枠がない")
    japanese.label()
    (note,) = [found["data"]["note"] for found in japanese.labeling_tasks() if found["data"].get("note")]
    assert note == "確認者からの差し戻し: 右の傷に枠がない"


@needs_chromium
def test_a_labeler_reads_the_instructions_of_the_team_in_japanese(japanese, browser):
    """Label Studio shows them before the first image, with the sentence that Kizu adds."""
    japanese.put_images(1)
    japanese.label()
    labeler, _ = ensure_people(japanese.stack.layout)
    page = signed_in(browser, japanese.url, labeler, width=1600, height=1000)
    page.goto(f"{japanese.url}/projects/{japanese.project('labeling')}/data?labeling=1")
    assert picture_width(page) == 200
    page.get_by_text(INSTRUCTIONS).first.wait_for()
    page.get_by_text("印を付けるものがなければ、枠を付けずに送信してください。").first.wait_for()

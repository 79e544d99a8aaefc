"""The operator's page in a real Chromium."""

from __future__ import annotations

import shutil
import signal

import pytest

from tests.edge_agent.models import BAD, GOOD, build_release, picture
from tests.edge_agent.running_agent import objections, take, token_of
from tests.edge_agent.servers import wait_for

CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_an_operator_sees_the_verdict_the_frame_and_nothing_that_a_name_could_run(device, publisher):
    """The page has no error, its pictures load, and the name of a file is shown as text."""
    from playwright.sync_api import sync_playwright

    device.start()
    release = build_release(1)
    take(device, publisher, release)
    device.feed("1 良品.png", picture(*GOOD))
    device.feed("2 <img src=x onerror=alert(1)>.png", picture(*BAD))
    wait_for(lambda: device.status()["frames"]["inspected"] == 2)
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        page = browser.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("response", lambda answer: problems.append(answer.url) if answer.status >= 400 else None)
        page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
        page.goto(f"http://127.0.0.1:{device.port}/", wait_until="load")
        assert page.locator(".verdict").first.inner_text().lower() == "fail"
        assert release.digest[:12] in page.locator("table").first.inner_text()
        assert "<img src=x onerror=alert(1)>.png" in page.locator("body").inner_text()
        assert "1 良品.png" in page.locator("body").inner_text()
        widths = page.evaluate("Array.from(document.images).map(image => image.naturalWidth)")
        assert len(widths) == 2
        assert all(width > 0 for width in widths)
        browser.close()
    assert problems == []
    assert device.stop(signal.SIGTERM) == 0


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_an_operator_objects_and_rolls_back_in_japanese(device, publisher, seaweed):
    """A button asks for the token first, and the page shows new frames without a reload."""
    from playwright.sync_api import expect, sync_playwright

    device.start()
    first, second = build_release(1), build_release(2)
    take(device, publisher, first)
    take(device, publisher, second, sequence=2)
    device.feed("1.png", picture(*GOOD, seed=4711))
    wait_for(lambda: device.status()["frames"]["inspected"] == 1)
    before = len(objections(seaweed))
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        page = browser.new_page(locale="ja-JP")
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"http://127.0.0.1:{device.port}/")
        expect(page.locator(".verdict")).to_have_text("合格")
        page.get_by_role("link", name="判定が誤り").click()
        page.get_by_label("トークン").fill(token_of(device))
        page.get_by_role("button", name="サインイン").click()
        page.get_by_role("button", name="判定が誤り").click()
        expect(page.get_by_role("status")).to_contain_text("異議")
        expect(page.locator("#live .said")).to_have_text("誤判定として送信")
        device.feed("2.png", picture(*BAD))
        expect(page.locator(".verdict")).to_have_text("不合格", timeout=15_000)
        page.get_by_role("link", name="前のリリースに戻す").click()
        assert device.status()["release"]["running"] == second.digest
        page.get_by_role("button", name="戻す").click()
        expect(page.get_by_role("status")).to_contain_text("戻しました")
        expect(page.locator("table").first).to_contain_text(first.digest[:12])
        browser.close()
    assert problems == []
    assert device.status()["release"]["running"] == first.digest
    wait_for(lambda: len(objections(seaweed)) == before + 1)

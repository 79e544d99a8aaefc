"""A person signs in, reads the fleet in both languages, and pauses a rollout, in a real Chromium."""

from __future__ import annotations

from tests.browser import needs_chromium
from tests.components.fleet_page.fleet_world import World, password_of, served

TIMEOUT_MS = 30_000


@needs_chromium
def test_a_person_watches_the_fleet_and_pauses_a_rollout(tmp_path, browser):
    """From the sign-in to the audit log, without a script and without one message of the browser's console."""
    world = World(tmp_path)
    world.watcher.read()
    with served(world) as url:
        context = browser.new_context(locale="ja-JP", viewport={"width": 1400, "height": 1000})
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{url}/groups/metal-tag/line")
        assert page.get_by_role("heading", name="サインイン").is_visible()
        page.get_by_label("アカウント").fill("hanako")
        page.get_by_label("パスワード").fill(password_of("hanako"))
        page.get_by_role("button", name="サインイン").click()
        page.get_by_role("heading", name="metal-tag · line").wait_for()
        page.get_by_role("link", name="English").click()
        bar = page.locator("svg.bar rect.succeeded").first
        assert bar.evaluate("bar => getComputedStyle(bar).fill") != "rgb(0, 0, 0)"  # the style sheet applies
        assert bar.bounding_box()["width"] > 20
        page.get_by_role("link", name="Pause").click()
        page.get_by_label("Why?").fill("scratches on good parts")
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("status").wait_for()
        assert page.locator("#rollout-state").inner_text() == "paused"
        page.get_by_role("link", name="Audit log").click()
        assert page.get_by_text("scratches on good parts").count() == 2
        page.get_by_role("link", name="Fleet").first.click()
        page.get_by_role("link", name="line-2").click()
        page.get_by_role("heading", name="Device line-2").wait_for()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("heading", name="Sign in").wait_for()
        assert said == []
        context.close()
    assert world.asked == [("metal-tag", "line", 5, "pause", "hanako", "scratches on good parts")]

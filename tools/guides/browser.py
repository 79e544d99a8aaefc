"""Starts Debian's Chromium, and names the folder of the guides' pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from deploy.access.identities import Account

CHROMIUM: Final = shutil.which("chromium")
TIMEOUT_MS: Final = 90_000
IMAGES: Final = Path(__file__).resolve().parents[2] / "docs" / "guides" / "images"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a headless browser that opens no connections by itself. It ends with the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield browser
        browser.close()


def signed_in(browser: Browser, url: str, account: Account, *, width: int, height: int) -> Page:
    """Return a page of Label Studio where a person has just logged in. Its size is in pixels."""
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(f"{url}/user/login/")
    page.locator("input[name=email]").fill(account.email)
    page.locator("input[name=password]").fill(account.password)
    page.locator("button[type=submit]").click()
    page.wait_for_url(lambda now: "/user/login" not in now)
    return page

"""A person approves in MLflow's own page, in a real Chromium."""

from __future__ import annotations

import shutil

import pytest

from components.registry.register import register
from tests.components.guarded_mlflow import password_of
from tests.components.model_runs import evaluated_run, unique_use_case

CHROMIUM = shutil.which("chromium")
TIMEOUT_MS = 120_000


@pytest.fixture
def name(mlflow, registry):
    """A registered model with one version that waits."""
    use_case = unique_use_case()
    mlflow.allow(use_case.name, "approver")
    register(registry, evaluated_run(registry, use_case), use_case, 7)
    return use_case.name


@pytest.fixture
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield opened
        opened.close()


def open_version(browser, mlflow, name, account):
    """Sign in as the browser asks for it, and open the version's page."""
    context = browser.new_context(
        http_credentials={"username": account, "password": password_of(account)},
        viewport={"width": 1400, "height": 1000},
    )
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(f"{mlflow.uri}/#/models/{name}/versions/1")
    page.get_by_text("approval", exact=True).first.wait_for()
    return page


def set_approval(page, value):
    """The tag `approval`, as a person sets it in the dialog of the page."""
    page.get_by_role("button", name="Edit tags").first.click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    return dialog


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_person_sets_the_tag_and_sees_the_stamps(mlflow, registry, name, browser):
    """The page shows who, when and which bytes; the signer believes it."""
    page = open_version(browser, mlflow, name, "approver")
    page.screenshot(path="/tmp/w/d1-page.png", full_page=True)
    print(page.locator("body").inner_text())
    set_approval(page, "approved")
    page.screenshot(path="/tmp/w/d1-dialog.png")
    print(page.get_by_role("dialog").inner_html())

"""A person approves in MLflow's own page, in a real Chromium."""

from __future__ import annotations

import pytest

from components.registry.register import register
from components.stores.models.approval import require_approval
from inspection.image import sha256_of
from tests.browser import needs_chromium
from tests.components.guarded_mlflow import password_of
from tests.components.model_runs import evaluated_run, unique_use_case

TIMEOUT_MS = 120_000


@pytest.fixture
def name(mlflow, registry):
    """A registered model with one version that waits."""
    use_case = unique_use_case()
    mlflow.allow(use_case.name, "approver")
    register(registry, evaluated_run(registry, use_case), use_case, 7)
    return use_case.name


def open_version(browser, mlflow, name, account):
    """Sign in as the browser asks for it, and open the version's page."""
    context = browser.new_context(
        http_credentials={"username": account, "password": password_of(account)},
        viewport={"width": 1400, "height": 1000},
    )
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(f"{mlflow.uri}/#/models/{name}/versions/1")
    row_of(page, "approval").wait_for()
    return page


def row_of(page, tag):
    """A tag's row in the table of the page."""
    return page.get_by_role("row").filter(has=page.get_by_text(tag, exact=True)).first


def set_approval(page, value):
    """As a person does: the pencil beside the tag, the word, Save."""
    row_of(page, "approval").get_by_test_id("editable-table-button-edit").click()
    page.get_by_test_id("editable-table-edited-input").fill(value)
    page.get_by_test_id("editable-table-button-save").click()


@needs_chromium
def test_a_person_sets_the_tag_in_mlflows_page_and_sees_the_stamps(mlflow, registry, name, browser):
    """After a reload the page shows who approved, when, and the model digest; the registry accepts the approval."""
    page = open_version(browser, mlflow, name, "approver")
    with page.expect_response("**/model-versions/set-tag") as answer:
        set_approval(page, "approved")
    assert answer.value.status == 200
    page.reload()
    row_of(page, "approval_by").wait_for()
    assert row_of(page, "approval_by").locator("td").nth(1).inner_text() == "approver"
    assert row_of(page, "approval_model_sha256").locator("td").nth(1).inner_text() == sha256_of(b"onnx")
    assert row_of(page, "approval_at").locator("td").nth(1).inner_text()
    _, approval = require_approval(registry, name, 1)
    assert approval.by == "approver"


@needs_chromium
def test_the_page_says_why_an_account_may_not(mlflow, registry, name, browser):
    """A refusal is shown in the server's words, and the tag stays as it was."""
    page = open_version(browser, mlflow, name, "trainer")
    set_approval(page, "approved")
    said = f"trainer may not approve {name} version 1: the approvers of {name} are approver"
    page.get_by_text(said).first.wait_for()
    page.reload()
    row_of(page, "approval").wait_for()
    assert row_of(page, "approval").locator("td").nth(1).inner_text() == "pending"
    assert registry.version(name, 1).approval == "pending"

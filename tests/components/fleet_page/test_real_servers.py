"""The fleet page's accounts on the real approval server, and its audit log in the real store with its own rights."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from components.fleet_page.accounts import AccountsAway, MlflowAccounts
from components.fleet_page.audit import AuditEntry, AuditLog, Outcome
from components.stores.objects.s3 import AccessDenied
from tests.components.guarded_mlflow import password_of
from tests.components.model_runs import unique_use_case

NOW = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)


def entry(**changes):
    values = {"entry_id": "0123", "at": NOW, "by": "hanako", "client": "127.0.0.1", "act": "pause",
              "outcome": Outcome.ASKED}  # fmt: skip
    return AuditEntry(**(values | changes))


def test_the_servers_own_accounts_sign_in(mlflow):
    """The approval server says who may act on what; a wrong password and an unknown account are nobody."""
    model = unique_use_case().name
    mlflow.allow(model, "approver")
    accounts = MlflowAccounts(mlflow.uri)
    approver = accounts.check("approver", password_of("approver"))
    assert approver.may_act_on(model)
    assert not approver.may_act_on("another")
    assert accounts.check("admin", password_of("admin")).may_act_on("another")
    assert not accounts.check("auditor", password_of("auditor")).may_act_on(model)
    assert accounts.check("approver", "wrong") is None
    assert accounts.check("nobody", "wrong") is None


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"), httpx.Response(404), httpx.Response(500), httpx.Response(302),
        httpx.Response(200, json=[]), httpx.Response(200, json={"schema_version": 2, "name": "a", "admin": True,
                                                                "approves": []}),
    ],
)  # fmt: skip
def test_a_server_that_is_not_the_approval_server_signs_nobody_in(answer):
    """Only the expected answer is a person; anything else says that the accounts cannot be asked."""
    accounts = MlflowAccounts("http://m", transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(AccountsAway):
        accounts.check("hanako", "password")


def test_a_server_that_is_away_is_told_apart_from_a_wrong_password():
    """Without an answer nobody is refused for their password, and the password is in no message."""

    def fail(request):
        raise httpx.ConnectError("refused")

    with pytest.raises(AccountsAway) as caught:
        MlflowAccounts("http://m", transport=httpx.MockTransport(fail)).check("hanako", "my-secret")
    assert "my-secret" not in str(caught.value)


@pytest.mark.parametrize(("name", "password"), [("", "x"), ("x", ""), ("x" * 301, "x"), ("x", "y" * 301), ("a:b", "x")])
def test_what_cannot_be_an_account_is_not_asked_about(name, password):
    """Names and passwords that no account can have reach no server."""

    def fail(request):
        raise AssertionError("asked")

    assert MlflowAccounts("http://m", transport=httpx.MockTransport(fail)).check(name, password) is None


def test_the_audit_log_grows_and_nobody_takes_from_it(s3):
    """The page appends and reads with its own rights; an entry is not written twice, and nobody deletes one."""
    store = s3.store("fleet-page")
    log = AuditLog(store, "kizu-state", lambda: NOW)
    log.append(entry())
    log.append(entry(outcome=Outcome.DONE, said="sequence 6"))
    with pytest.raises(FileExistsError):
        log.append(entry(by="mallory"))
    found = [item for item in log.latest() if item.entry_id == "0123"]
    assert {(str(item.outcome), item.by) for item in found} == {("asked", "hanako"), ("done", "hanako")}
    for identity in ("fleet-page", "reconciler", "training"):
        with pytest.raises(AccessDenied):
            s3.store(identity).delete("kizu-state", entry().key)
    s3.store("reconciler").put("kizu-state", "claims/x", b"x")
    s3.store("reconciler").delete("kizu-state", "claims/x")  # what others keep there is theirs to delete


@pytest.mark.parametrize(
    ("bucket", "key"), [("state", "claims/page"), ("state", "auditor"), ("fleet", "line1/reported.json"), ("raw", "x"),
                        ("releases", "x")]
)  # fmt: skip
def test_the_page_writes_nothing_but_the_audit_log(s3, bucket, key):
    """With the page's key nothing else in the store can be written."""
    with pytest.raises(AccessDenied):
        s3.store("fleet-page").put(f"kizu-{bucket}", key, b"x")


def test_the_page_reads_reports_and_nothing_else(s3):
    """Reports of devices are readable with the page's key; claims, labels and releases are not."""
    list(s3.store("fleet-page").list("kizu-fleet"))
    s3.store("reconciler").put("kizu-state", "claims/y", b"x")
    with pytest.raises(AccessDenied):
        s3.store("fleet-page").get("kizu-state", "claims/y")
    for bucket in ("labels", "releases", "raw"):
        with pytest.raises(AccessDenied):
            list(s3.store("fleet-page").list(f"kizu-{bucket}"))


def test_an_entry_of_the_audit_log_is_read_as_it_was_written():
    """The document round-trips, keeps what a newer program added, and its name sorts by time."""
    newer = entry().to_json().replace(b'"at"', b'"added_later":1,"at"')
    assert AuditEntry.from_json(newer).to_json() == newer
    assert entry().key.startswith("audit/2025/04/01/120000000000-0123-asked")

"""What the approval server says of an account to who has its password, and of itself to Prometheus."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from components.approval_server import app
from components.approval_server.accounts import AccountFiles, AccountsError, account_of
from tests.components.guarded_mlflow import password_of, write
from tests.components.model_runs import unique_use_case

ACCOUNT = "/kizu-approval/account"


@pytest.mark.parametrize(
    ("account", "role", "admin", "approves"),
    [("approver", "approver", False, True), ("admin", "admin", True, False), ("trainer", "trainer", False, False)],
)
def test_an_account_is_told_its_role_and_the_models_that_it_may_approve(mlflow, account, role, admin, approves):
    """A program that signs people in learns from the server itself what the account may do."""
    model = unique_use_case().name
    mlflow.allow(model, "approver", "trainer")
    answer = mlflow.ask(account, "GET", ACCOUNT)
    assert answer.status_code == 200
    found = answer.json()
    assert (found["name"], found["role"], found["admin"]) == (account, role, admin)
    assert (model in found["approves"]) is approves
    assert "password" not in answer.text


@pytest.mark.parametrize(
    "auth", [None, ("approver", "wrong"), ("nobody", "password-of-approver"), ("approver", ""), ("", "x")]
)
def test_nobody_without_the_password_is_told_anything(mlflow, auth):
    """A missing or wrong password is answered 401, the same for accounts that exist and that do not."""
    answer = httpx.get(mlflow.uri + ACCOUNT, auth=auth, timeout=60, trust_env=False)
    assert answer.status_code == 401
    assert answer.json()["message"] == "expected an account and its password"


@pytest.mark.parametrize("header", ["Basic", "Basic !!", "Basic eA==", "Bearer YTpi", "Basic /////w=="])
def test_a_header_that_is_no_basic_authentication_is_refused(mlflow, header):
    """Damaged credentials are answered 401, not an error of the server."""
    answer = httpx.get(mlflow.uri + ACCOUNT, headers={"Authorization": header}, timeout=60, trust_env=False)
    assert answer.status_code == 401


def test_the_server_counts_what_it_answers(mlflow):
    """`/metrics` has requests by answer, requests that no rule knows, and wrong passwords; a second look has more."""

    def counts():
        text = httpx.get(mlflow.uri + "/metrics", timeout=60, trust_env=False).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {(sample.name, sample.labels.get("answer")): sample.value for sample in samples}

    before = counts()
    httpx.get(mlflow.uri + ACCOUNT, auth=("approver", "wrong"), timeout=60, trust_env=False)
    assert mlflow.ask("admin", "POST", "/api/2.0/mlflow/unheard-of/thing").status_code == 403
    after = counts()
    assert after["kizu_approval_wrong_passwords_total", None] == before["kizu_approval_wrong_passwords_total", None] + 1
    assert after["kizu_approval_refused_total", None] == before["kizu_approval_refused_total", None] + 1
    assert after["kizu_approval_requests_total", "4xx"] >= before["kizu_approval_requests_total", "4xx"] + 2
    assert after["kizu_approval_accounts_ok", None] == 1


def test_an_account_that_the_file_does_not_name_may_approve_what_it_is_listed_for(tmp_path):
    """The administrator may make a person's account in MLflow itself; it has no role, and its models count."""
    files = AccountFiles(tmp_path / "accounts.json", tmp_path / "approvers.json")
    write(files.accounts, {"schema_version": 1, "accounts": {"root": {"role": "admin", "password": "x" * 12}}})
    write(files.approvers, {"schema_version": 1, "approvers": {"tag": ["hanako"], "cup": ["taro"]}})
    found = account_of(files, lambda name, password: False, "hanako", password_of("hanako"))
    assert found == {"schema_version": 1, "name": "hanako", "role": None, "admin": False, "approves": ["tag"]}
    assert account_of(files, lambda name, password: None, "hanako", "wrong") is None
    files.accounts.write_text("{")
    with pytest.raises(AccountsError):
        account_of(files, lambda name, password: False, "hanako", "x")


class Users:
    """MLflow's accounts, with the passwords that were checked."""

    def __init__(self):
        self.passwords = {"admin": "a" * 12, "trainer": "b" * 12}
        self.checked = []
        self.granted = []

    def has_user(self, name):
        return name in self.passwords

    def authenticate_user(self, name, password):
        self.checked.append(name)
        return self.passwords[name] == password

    def update_user(self, name, password=None, is_admin=None):
        self.passwords[name] = password

    def grant_user_permission(self, name, kind, pattern, right):
        self.granted.append(name)


def test_a_change_of_the_approvers_checks_no_password_and_one_of_the_accounts_does(tmp_path, monkeypatch):
    """A check costs a tenth of a second of CPU time for each account, and requests that write wait for it."""
    users = Users()
    monkeypatch.setattr(app.auth, "store", users)
    files = AccountFiles(tmp_path / "accounts.json", tmp_path / "approvers.json")
    accounts = {name: {"role": name, "password": password} for name, password in users.passwords.items()}
    write(files.accounts, {"schema_version": 1, "accounts": accounts})
    write(files.approvers, {"schema_version": 1, "approvers": {}})
    keeper = app._Accounts(files)
    keeper.refresh()
    assert users.checked == ["admin", "trainer"]
    users.checked.clear()
    users.granted.clear()
    users.passwords["guest"] = "c" * 12  # an administrator made it in MLflow
    write(files.approvers, {"schema_version": 1, "approvers": {"metal-tag": ["guest"]}})
    keeper.refresh()
    assert (users.checked, set(users.granted)) == ([], {"guest"})
    accounts["trainer"]["password"] = "d" * 12
    write(files.accounts, {"schema_version": 1, "accounts": accounts})
    keeper.refresh()
    assert (users.checked, users.passwords["trainer"], keeper.ok) == (["admin", "trainer"], "d" * 12, True)

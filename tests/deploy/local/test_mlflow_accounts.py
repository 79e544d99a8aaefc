"""MLflow on one machine: each identity is an account of its own, and the server knows who may approve."""

from __future__ import annotations

import json
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from components.approval_server.accounts import Role, read_accounts, read_approvers
from components.use_case import load_use_case
from deploy.access.identities import (
    MLFLOW_ACCOUNTS,
    MLFLOW_ROLES,
    allow_approvers,
    load,
    mlflow_account,
    write_mlflow_files,
)
from deploy.access.layout import REPOSITORY
from tests.deploy.stack_fixture import make_layout

USE_CASE = load_use_case(REPOSITORY / "use_cases" / "metal-tag.yaml")


def whoami(url, environment):
    auth = (environment["MLFLOW_TRACKING_USERNAME"], environment["MLFLOW_TRACKING_PASSWORD"])
    answer = httpx.get(f"{url}/api/2.0/mlflow/users/current", auth=auth, timeout=30, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()["user"]


@pytest.mark.parametrize(("identity", "account"), MLFLOW_ACCOUNTS.items())
def test_a_process_is_its_own_account_of_mlflow(stack, identity, account):
    """A process has its own account without administrator rights, and no other account's password."""
    environment = stack.environment(identity)
    user = whoami(stack.layout.mlflow_url, environment)
    assert (user["username"], user["is_admin"]) == (account, False)
    others = {a["password"] for name, a in load(stack.layout)["mlflow"]["accounts"].items() if name != account}
    assert not others & set(environment.values())


def test_mlflow_on_one_machine_asks_who_it_is(stack):
    """Whoever else uses this machine is asked for an account too; the supervisor's look needs none."""
    assert httpx.get(f"{stack.layout.mlflow_url}/", timeout=30, trust_env=False).status_code == 401
    assert httpx.get(f"{stack.layout.mlflow_url}/health", timeout=30, trust_env=False).status_code == 200


def test_the_approvers_of_a_use_case_reach_the_server_with_an_account_each(tmp_path):
    """Each approver gets one account; a second call changes nothing, and a removed name may approve no more."""
    layout = make_layout(tmp_path)
    use_case = USE_CASE.model_copy(update={"approvers": ("approver", "hanako")})
    allow_approvers(layout, use_case)
    accounts, approvers = layout.mlflow_accounts, layout.mlflow_approvers
    assert read_approvers(approvers) == {"metal-tag": ("approver", "hanako")}
    assert read_accounts(accounts)["hanako"].role is Role.APPROVER
    before = accounts.read_bytes()
    allow_approvers(layout, use_case)
    assert accounts.read_bytes() == before
    allow_approvers(layout, use_case.model_copy(update={"approvers": ("approver",)}))
    assert read_approvers(approvers) == {"metal-tag": ("approver",)}
    for file in (accounts, approvers):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_installation_from_before_has_accounts_after_the_next_look(tmp_path):
    """Identities of an earlier version get the missing accounts and keys, and the other keys stay as they are."""
    layout = make_layout(tmp_path)
    known = load(layout)
    key = known["s3"]["training"]
    del known["mlflow"], known["s3"]["auditor"]
    layout.identities_file.write_text(json.dumps(known))
    assert mlflow_account(layout, "trainer")["MLFLOW_TRACKING_USERNAME"] == "trainer"
    assert load(layout)["s3"]["training"] == key
    assert load(layout)["s3"]["auditor"] == load(layout)["s3"]["auditor"]
    assert set(read_accounts(write_mlflow_files(layout)[0])) == set(MLFLOW_ROLES)


def test_commands_that_begin_at_once_make_one_set_of_keys_and_lose_no_approver(tmp_path):
    """Each of them brings a use case of its own; the first makes the installation."""
    for attempt in range(5):
        layout = make_layout(tmp_path / str(attempt))
        start = threading.Barrier(8)

        def one(number, layout=layout, start=start):
            use_case = USE_CASE.model_copy(update={"name": f"line{number}", "approvers": (f"person{number}",)})
            start.wait()
            allow_approvers(layout, use_case)
            return mlflow_account(layout, f"person{number}"), load(layout)["s3"]

        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(one, range(8)))
        known = load(layout)
        assert known["mlflow"]["approvers"] == {f"line{n}": [f"person{n}"] for n in range(8)}
        for number, (account, keys) in enumerate(got):
            assert account["MLFLOW_TRACKING_PASSWORD"] == known["mlflow"]["accounts"][f"person{number}"]["password"]
            assert keys == known["s3"]
        assert read_accounts(layout.mlflow_accounts).keys() == known["mlflow"]["accounts"].keys()
        assert read_approvers(layout.mlflow_approvers).keys() == known["mlflow"]["approvers"].keys()

"""`kizu approve` and `kizu reject` against the real server, as processes of a person."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from components.registry.register import register
from deploy.access.layout import REPOSITORY
from tests.components.guarded_mlflow import password_of
from tests.components.model_runs import evaluated_run, unique_use_case


@pytest.fixture
def name(mlflow, registry):
    """A registered model with one version that waits."""
    use_case = unique_use_case()
    mlflow.allow(use_case.name, "approver")
    register(registry, evaluated_run(registry, use_case), use_case, 7)
    return use_case.name


@pytest.fixture
def kizu(mlflow, tmp_path):
    def run(*arguments, **environment):
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        return subprocess.run(
            [sys.executable, "-m", "kizu", *arguments],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL,
            env=kept | {"KIZU_HOME": str(tmp_path), "COLUMNS": "200", "MLFLOW_TRACKING_URI": mlflow.uri} | environment,
        )  # fmt: skip

    return run


def test_a_person_approves_and_rejects_as_their_own_account(registry, name, kizu, tmp_path):
    """The command takes the account from the environment or a password file, and keeps the reason with the version."""
    account = {"MLFLOW_TRACKING_USERNAME": "approver", "MLFLOW_TRACKING_PASSWORD": password_of("approver")}
    done = kizu("approve", "1", "--model", name, "--reason", "no escapes", **account)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{name} version 1 is approved, by approver" in done.stdout
    assert registry.version(name, 1).tags["approval_reason"] == "no escapes"
    file = tmp_path / "password"
    file.write_text(password_of("approver") + "\n")
    done = kizu("reject", "1", "-m", name, "--account", "approver", "--password-file", str(file), "--reason", "dents")
    assert done.returncode == 0, done.stderr
    tags = registry.version(name, 1).tags
    assert (tags["approval"], tags["approval_by"], tags["approval_reason"]) == ("rejected", "approver", "dents")
    assert "approval_model_sha256" not in tags


def test_what_the_server_refuses_is_said_in_one_line(registry, name, kizu):
    """The server's refusal is printed in one line; no password is shown, and the given reason is not stored."""
    account = {"MLFLOW_TRACKING_USERNAME": "trainer", "MLFLOW_TRACKING_PASSWORD": password_of("trainer")}
    done = kizu("approve", "1", "--model", name, "--reason", "mine", **account)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert f"trainer may not approve {name} version 1: the approvers of {name} are approver" in done.stderr
    assert password_of("trainer") not in done.stdout + done.stderr
    assert "approval_reason" not in registry.version(name, 1).tags
    account["MLFLOW_TRACKING_PASSWORD"] = "wrong-wrong-wrong"
    done = kizu("approve", "1", "--model", name, **account)
    assert done.returncode == 1
    assert "wrong-wrong-wrong" not in done.stderr


def test_without_an_account_and_without_a_terminal_it_says_what_it_expects(registry, name, kizu):
    """Without an account and a terminal the command fails with a hint, and the version stays pending."""
    done = kizu("approve", "1", "--model", name)
    assert done.returncode == 1
    assert "a person approves with their own account" in done.stderr
    done = kizu("approve", "1", "--model", name, "--account", "approver", MLFLOW_TRACKING_USERNAME="trainer",
                MLFLOW_TRACKING_PASSWORD=password_of("trainer"))  # fmt: skip
    assert done.returncode == 1, "another account's password is not taken"
    assert "a person approves with their own account" in done.stderr
    assert registry.version(name, 1).approval == "pending"

"""The files for CI services: they fit their schemas, bind to no host, and hold no secret."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools.teams import TEAMS

REPOSITORY = Path(__file__).resolve().parents[2]
CI = REPOSITORY / "deploy" / "ci"
FILES = {
    "github/kizu.yml": "vendor.github-workflows",
    "forgejo/kizu.yml": "vendor.github-workflows",  # its syntax is GitHub's
    "gitlab/kizu.gitlab-ci.yml": "vendor.gitlab-ci",
}


@pytest.mark.parametrize(("file", "schema"), FILES.items())
def test_a_file_fits_the_schema_of_its_service(file, schema):
    """With the schemas that check-jsonschema carries: without a network."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    if "gitlab" in file:
        command += ["--data-transform", "gitlab-ci"]
    done = subprocess.run([*command, CI / file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES)
def test_a_file_names_no_host_and_takes_no_action_of_others(file):
    """Registries and endpoints are variables. Nothing runs that nobody pinned."""
    text = (CI / file).read_text()
    assert "uses:" not in text
    assert re.findall(r"https?://|\b[\w-]+\.(?:io|com|org|net|dev)\b", text) == []
    for line in text.splitlines():
        assert not re.search(r"run:.*\$\{\{", line), "an expression in a shell line runs what it holds"


@pytest.mark.parametrize("file", FILES)
def test_every_team_has_both_stages_behind_the_rule_of_what_changed(file):
    """`tools.teams changed` decides, then `make assets` and `make workflow` run."""
    text = (CI / file).read_text()
    for command in ("python3 -m tools.teams changed --base", 'make assets TEAM="$TEAM"', 'make workflow TEAM="$TEAM"'):
        assert command in text
    if "github" not in file:  # there the rule's answer is the matrix
        assert f"[{', '.join(TEAMS)}]" in text


@pytest.mark.parametrize("file", ["github/kizu.yml", "forgejo/kizu.yml"])
def test_shell_lines_of_a_workflow_are_whole(file):
    """bash reads each of them, and no step holds a secret that it does not use."""
    for job in yaml.safe_load((CI / file).read_text())["jobs"].values():
        for step in job["steps"]:
            done = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert "secrets." not in str(step.get("env", {})) or "build-push-sign" in step["run"]


MAKE = """#!/bin/sh
printf '%s\\n' "$@"
for each in "$@"; do case $each in PASSWORD_FILE=*|KEY=*) stat -c %a "${each#*=}"; cat "${each#*=}"; echo ;; esac; done
env | grep -c 'tell-nobody'
"""


def test_secrets_reach_the_stage_as_private_files_that_are_gone_afterwards(tmp_path):
    """They are no arguments, which every process of the machine may read, and nothing below inherits them."""
    (tmp_path / "make").write_text(MAKE)
    (tmp_path / "make").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path), "TEAM": "edge",
        "REGISTRY": "r", "REGISTRY_USER": "u", "PASSWORD": "tell-nobody-1", "SIGNING_KEY": "tell-nobody-2",
    }  # fmt: skip
    done = subprocess.run([CI / "build-push-sign"], env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines[:3] == ["assets", "TEAM=edge", "STEPS=images push compile render sbom sign"]
    assert lines[3:5] == ["REGISTRY=r", "REGISTRY_USER=u"]
    assert lines[7:] == ["600", "tell-nobody-1", "600", "tell-nobody-2", "", "0"]
    assert [path.name for path in tmp_path.iterdir()] == ["make"]


def test_without_a_registry_and_a_key_nothing_is_pushed_or_signed(tmp_path):
    """What has no setting is left out."""
    (tmp_path / "make").write_text(MAKE)
    (tmp_path / "make").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path), "TEAM": "edge"}
    done = subprocess.run([CI / "build-push-sign"], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[:3] == ["assets", "TEAM=edge", "STEPS=images compile render sbom"]

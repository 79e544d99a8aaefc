"""Which team a file belongs to, and so whose stages a change runs. It needs Python and git only.

    python3 -m tools.teams changed --base COMMIT          # the teams whose stages a change since COMMIT runs
    python3 -m tools.teams changed --base COMMIT --json   # the same as a JSON list
    python3 -m tools.teams changed --base COMMIT --team edge || exit 0     # status 1: nothing of this team
    python3 -m tools.teams of FILE…

A rule is a path; the longest one that a file lies at or below counts. What no rule names runs everybody's stages.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TEAMS: Final = ("labeling", "training", "edge")
SHARED: Final = frozenset(TEAMS)
"""Runs the stages of every team."""
NOBODY: Final[frozenset[str]] = frozenset()
"""Runs no stages: it goes into nothing that a team ships. CI's own checks look at it all the same."""

REPOSITORY: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Team:
    """paths: a change of them runs the team's stages; two teams may name one. images: as tools/images names them.

    pipelines: its own ones; its stage `workflow` submits the first. tests: its own ones.
    """

    paths: tuple[str, ...]
    images: tuple[str, ...]
    pipelines: tuple[str, ...]
    tests: tuple[str, ...]


OF: Final[Mapping[str, Team]] = {
    "labeling": Team(
        paths=(
            "components/labeling", "components/webhooks", "components/ingest", "components/exchange",
            "pipelines/labeling.py", "pipelines/compiled/labeling.yaml",
            "locks/labeling.txt", "locks/labelstudio.in", "locks/labelstudio.txt", "tools/label_studio_database.py",
            "deploy/k8s/base/labelstudio", "deploy/k8s/base/seaweedfs", "deploy/k8s/base/bucket-setup",
            "deploy/k8s/teams/labeling", "deploy/k8s/teams/storage",
        ),
        images=("labeling", "labelstudio", "seaweedfs"),
        pipelines=("labeling",),
        tests=(
            "tests/components/labeling", "tests/components/webhooks", "tests/components/ingest",
            "tests/components/exchange", "tests/components/stores/raw_images", "tests/components/stores/labels",
        ),
    ),
    "training": Team(
        paths=(
            "components/dataset", "components/training", "components/yolov8", "components/evaluation",
            "components/registry", "components/approval_server", "components/generated_parts", "components/reporting",
            "pipelines/training.py", "pipelines/training_pod.py", "pipelines/evaluation.py", "pipelines/evaluating.py",
            "pipelines/compiled/training.yaml", "pipelines/compiled/evaluation.yaml",
            "locks/data.txt", "locks/training.txt", "locks/training-permissive.txt", "locks/mlflow.txt",
            "deploy/k8s/base/mlflow", "deploy/k8s/components/mlflow-postgres", "deploy/k8s/teams/training",
        ),
        images=("data", "training", "training-permissive", "mlflow"),
        pipelines=("training", "evaluation"),
        tests=(
            "tests/components/dataset", "tests/components/training", "tests/components/yolov8",
            "tests/components/evaluation", "tests/components/registry", "tests/components/approval_server",
            "tests/components/generated_parts", "tests/components/reporting", "tests/components/stores/datasets",
            "tests/components/stores/models",
        ),
    ),
    "edge": Team(
        paths=(
            "edge_agent", "components/deployment", "components/enrolment", "components/fleet_page",
            "reconciler", "pipelines/deployment.py", "pipelines/compiled/deployment.yaml",
            # The image control holds these too.
            "components/webhooks", "components/ingest", "pipelines/labeling.py", "pipelines/training.py",
            "pipelines/training_pod.py", "pipelines/evaluation.py", "pipelines/evaluating.py",
            "pipelines/compiled/labeling.yaml", "pipelines/compiled/training.yaml",
            "pipelines/compiled/evaluation.yaml",
            "locks/edge.txt", "locks/edge-genicam.txt", "locks/edge-openvino.txt", "locks/control.txt",
            "deploy/edge", "deploy/monitoring", "deploy/k8s/base/edge", "deploy/k8s/base/signer",
            "deploy/k8s/base/reconciler", "deploy/k8s/base/fleet-page", "deploy/k8s/teams/edge",
            "tools/agent-wheels", "tools/agent_wheel.py",
        ),
        images=("control", "edge"),
        pipelines=("deployment",),
        tests=(
            "tests/edge_agent", "tests/components/deployment", "tests/components/enrolment",
            "tests/components/fleet_page", "tests/components/stores/releases", "tests/components/stores/fleet",
            "tests/reconciler",
        ),
    ),
}  # fmt: skip

_SHARED_PATHS: Final = (
    "components", "inspection", "pipelines", "kizu", "deploy", "use_cases", "locks", "tools", "tests",
    "pyproject.toml", "Makefile", ".dockerignore", ".gitignore", "LICENSE",
)  # fmt: skip
_NOBODYS_PATHS: Final = (
    "docs", "benchmarks", "demo", ".ci", "deploy/ci", "tools/docs", "tools/guides", "tools/mutation",
    "tools/arm-emulation",
    "locks/docs.txt", "locks/mutation.in", "locks/mutation.txt", "tests/docs", "tests/benchmarks", "tests/demo",
    "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md",
)  # fmt: skip


def _rules() -> dict[str, frozenset[str]]:
    found = dict.fromkeys(_SHARED_PATHS, SHARED) | dict.fromkeys(_NOBODYS_PATHS, NOBODY)
    owned: dict[str, set[str]] = {}
    for name, team in OF.items():
        for path in (*team.paths, *team.tests):
            owned.setdefault(path, set()).add(name)
    return found | {path: frozenset(names) for path, names in owned.items()}


RULES: Final[Mapping[str, frozenset[str]]] = _rules()
"""Path -> the teams whose stages a change of it runs."""


def rule_of(path: str) -> str | None:
    """The longest rule that a file lies at or below; None where there is none."""
    parts = path.split("/")
    ways = ("/".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((way for way in ways if way in RULES), None)


def teams_of(paths: Iterable[str]) -> tuple[str, ...]:
    """The teams whose stages a change of some files runs, in the order of the loop."""
    found: set[str] = set()
    for path in paths:
        rule = rule_of(path)
        found |= SHARED if rule is None else RULES[rule]
    return tuple(team for team in TEAMS if team in found)


def changed_since(base: str, repository: Path = REPOSITORY) -> tuple[str, ...] | None:
    """The files that differ between a commit and the present one; of a renamed file both names.

    None: the commit is not known here, as in a shallow clone or at the first push of a branch. Then anything may have
    changed.
    """
    git = ["git", "-C", str(repository)]
    known = subprocess.run([*git, "cat-file", "-e", f"{base}^{{commit}}"], capture_output=True, check=False)
    if not base or base.startswith("-") or known.returncode != 0:
        return None
    command = [*git, "diff", "--name-only", "--no-renames", "-z", base, "HEAD"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(name for name in listed.split("\0") if name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the teams. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="tools.teams")
    commands = parser.add_subparsers(dest="command", required=True)
    changed = commands.add_parser("changed")
    changed.add_argument("--base", default="", help="the commit that CI saw last")
    changed.add_argument("--json", action="store_true")
    changed.add_argument("--team", choices=TEAMS)
    of = commands.add_parser("of")
    of.add_argument("files", nargs="+")
    options = parser.parse_args(arguments)
    if options.command == "of":
        for file in options.files:
            sys.stdout.write(f"{file}: {', '.join(teams_of([file])) or 'nobody'}\n")
        return 0
    files = changed_since(options.base)
    teams = TEAMS if files is None else teams_of(files)
    if files is None:
        sys.stderr.write(
            f"teams: the commit {options.base or 'before'} is not known here: the stages of all teams run\n"
        )
    if options.team:
        if options.team not in teams:
            sys.stderr.write(f"teams: nothing of {options.team} has changed\n")
        return 0 if options.team in teams else 1
    sys.stdout.write(json.dumps(teams) + "\n" if options.json else "".join(f"{team}\n" for team in teams))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A change runs the stages of the teams whose product it can change, and of nobody else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tools.site_bundle.images import OURS
from tools.teams import NOBODY, OF, RULES, SHARED, TEAMS, changed_since, main, rule_of, teams_of

REPOSITORY = Path(__file__).resolve().parents[2]


def tracked():
    listed = subprocess.run(["git", "-C", REPOSITORY, "ls-files", "-z"], capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name]


def test_each_file_of_the_repository_belongs_to_a_team_or_to_the_shared_ones():
    """A new folder at the top needs a rule: tools/teams.py."""
    assert [name for name in tracked() if rule_of(name) is None] == []


def test_each_rule_is_of_something_that_exists():
    """A rule of a folder that was renamed would guard nothing."""
    assert [path for path in RULES if not (REPOSITORY / path).exists()] == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("components/labeling/tasks.py", ("labeling",)),
        ("components/yolov8/trainer.py", ("training",)),
        ("edge_agent/ota/offer.py", ("edge",)),
        ("tests/edge_agent/test_ota_rules.py", ("edge",)),
        ("pipelines/training.py", ("training", "edge")),
        ("inspection/geometry.py", TEAMS),
        ("components/stores/labels/store.py", TEAMS),
        ("locks/dev.txt", TEAMS),
        ("something/new.py", TEAMS),
        ("docs/index.md", ()),
        ("README.md", ()),
    ],
)
def test_the_longest_rule_counts_and_what_no_rule_names_runs_everything(path, expected):
    """Documents run no stage. What nobody thought of runs all."""
    assert teams_of([path]) == expected


def test_changes_of_several_teams_run_the_stages_of_each():
    """Once, in the order of the loop."""
    assert teams_of(["edge_agent/a.py", "components/labeling/b.py", "docs/c.md", "edge_agent/d.py"]) == (
        "labeling",
        "edge",
    )
    assert teams_of([]) == ()


def copied_by(dockerfile, target):
    """What an image copies from the repository, its stages' too."""
    stages, name = {}, ""
    for line in (REPOSITORY / dockerfile).read_text().splitlines():
        if match := re.match(r"FROM (\S+) AS (\S+)", line):
            name = match[2]
            stages[name] = list(stages.get(match[1], []))
        elif match := re.match(r"COPY (?!--from)(.+) \S+$", line):
            stages[name] += match[1].split()
        elif match := re.match(r"COPY --from=(\S+) ", line):
            stages[name] += stages.get(match[1], [])
        elif name:
            stages[name] += re.findall(r"source=((?:locks|tools)/[\w./-]+)", line)
    folders = {path for path in stages[target] if not path.endswith("/*.py")}
    modules = {path.removesuffix("/*.py") for path in stages[target] if path.endswith("/*.py")}
    below = {name for name in tracked() if any(name == path or name.startswith(f"{path}/") for path in folders)}
    return below | {name for name in tracked() if name.endswith(".py") and name.rpartition("/")[0] in modules}


@pytest.mark.parametrize(("team", "image"), [(team, image) for team in TEAMS for image in OF[team].images])
def test_whatever_an_image_holds_runs_the_stages_of_its_team(team, image):
    """A file that goes into an image of a team cannot change without that image being made again."""
    files = copied_by("edge_agent/Dockerfile" if image == "edge" else "components/Dockerfile", image)
    assert files
    assert sorted(name for name in files if team not in teams_of([name])) == []


def test_each_image_has_one_team():
    """All images that tools/images makes are made by somebody, and by nobody twice."""
    assert sorted(image for team in OF.values() for image in team.images) == sorted(OURS)


@pytest.mark.parametrize("team", TEAMS)
def test_whatever_a_teams_manifests_name_runs_its_stages(team):
    """The bases below deploy/k8s/teams/<team>."""
    folder = f"deploy/k8s/teams/{team}"
    for resource in yaml.safe_load((REPOSITORY / folder / "kustomization.yaml").read_text())["resources"]:
        path = (REPOSITORY / folder / resource).resolve().relative_to(REPOSITORY).as_posix()
        assert team in teams_of([path]), path


def git(folder, *arguments):
    done = subprocess.run(
        ["git", "-C", folder, "-c", "user.name=n", "-c", "user.email=e@example.com", *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_a_file_that_moved_between_teams_runs_both(tmp_path):
    """And a commit that git does not know runs all: a shallow clone, or the first push of a branch."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "edge_agent").mkdir()
    (tmp_path / "components" / "labeling").mkdir(parents=True)
    (tmp_path / "edge_agent" / "a b.py").write_text("x = 1\n" * 20)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    base = git(tmp_path, "rev-parse", "HEAD")
    git(tmp_path, "mv", "edge_agent/a b.py", "components/labeling/b.py")
    git(tmp_path, "commit", "--quiet", "-m", "two")
    files = changed_since(base, tmp_path)
    assert files is not None
    assert sorted(files) == ["components/labeling/b.py", "edge_agent/a b.py"]
    assert teams_of(files) == ("labeling", "edge")
    assert changed_since("HEAD", tmp_path) == ()
    for unknown in ("0" * 40, "", "--output=x"):
        assert changed_since(unknown, tmp_path) is None


def test_ci_can_ask_for_one_team(capsys):
    """Status 1: nothing of it has changed since this commit."""
    assert main(["changed", "--base", "HEAD", "--team", "edge"]) == 1
    assert main(["changed", "--base", "0" * 40, "--team", "edge"]) == 0
    capsys.readouterr()
    assert main(["changed", "--base", "HEAD", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert (frozenset(TEAMS), frozenset()) == (SHARED, NOBODY)

"""The version of Kizu is the one in pyproject.toml; every other place that names it must agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import edge_agent
from components import container_images
from components.deployment.release import MIN_AGENT_VERSION

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION: str = PROJECT["version"]


def test_the_agent_and_the_image_tag_have_the_version_of_the_project() -> None:
    """The two constants equal the project's version. Devices and images contain no package metadata of Kizu to read."""
    assert edge_agent.__version__ == VERSION, "edge_agent/__init__.py"
    assert container_images.TAG == VERSION, "components/container_images.py"


def test_a_release_needs_no_agent_that_is_newer_than_the_project() -> None:
    """Devices refuse a release whose `min_agent_version` is above their own."""
    assert [int(n) for n in MIN_AGENT_VERSION.split(".")] <= [int(n) for n in VERSION.split(".")]


def test_every_file_that_names_an_image_of_kizu_names_the_version_of_the_project() -> None:
    """Dockerfiles, manifests, the compose file and the compiled pipelines."""
    folders = ("components", "edge_agent", "deploy", "pipelines/compiled")
    files = [
        file
        for folder in folders
        for file in sorted((REPOSITORY / folder).rglob("*"))
        if file.name == "Dockerfile" or file.suffix in {".yaml", ".yml"}
    ]
    named = {
        (str(file.relative_to(REPOSITORY)), tag)
        for file in files
        for tag in re.findall(r"\bkizu/[a-z-]+:([0-9][\w.-]*)", file.read_text(encoding="utf-8"))
    }
    assert len(named) >= 10
    assert {place for place in named if place[1] != VERSION} == set()


def test_the_mlflow_image_announces_the_version_and_the_entry_points_of_the_project() -> None:
    """The image has no installed distribution, so its Dockerfile writes the metadata that MLflow looks for."""
    text = (REPOSITORY / "components" / "Dockerfile").read_text(encoding="utf-8")
    assert set(re.findall(r"kizu-([\d.]+)\.dist-info", text)) == {VERSION}
    assert re.findall(r"nVersion: ([\d.]+)\\n", text) == [VERSION]
    for name, place in PROJECT["entry-points"]["mlflow.app"].items():
        assert f"[mlflow.app]\\n{name} = {place}\\n" in text

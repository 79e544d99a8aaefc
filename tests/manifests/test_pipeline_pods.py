"""What the compiled pipelines ask of a cluster is what the manifests and the Secrets give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from components import container_images
from components.deployment import keys
from deploy.k8s.credentials import Addresses, make
from pipelines.compile import PIPELINES, compile_all

pytestmark = pytest.mark.manifests


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Pipeline -> (its specification, its part for Kubernetes)."""
    folder = tmp_path_factory.mktemp("compiled")
    found = {}
    for path in compile_all(folder):
        specification, platform = yaml.safe_load_all(path.read_text(encoding="utf-8"))
        found[path.stem] = (specification, platform["platforms"]["kubernetes"])
    return found


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_step_runs_in_an_image_of_this_repository(compiled: dict[str, Any], pipeline: str) -> None:
    """None installs anything when it starts: an air-gapped cluster has nowhere to install from."""
    specification, _ = compiled[pipeline]
    known = {container_images.LABELING, container_images.DATA, container_images.TRAINING, container_images.CONTROL}
    for name, executor in specification["deploymentSpec"]["executors"].items():
        assert executor["container"]["image"] in known, name
        assert "pip install" not in " ".join(executor["container"]["command"]), name


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_step_finds_its_settings_in_the_secret_of_its_pipeline(
    compiled: dict[str, Any], pipeline: str, tmp_path: Path
) -> None:
    """The Secret that the credentials command makes has each key that a step's environment names."""
    keys.init(tmp_path / "root", tmp_path / "signer")
    secrets = make(tmp_path / "out", tmp_path / "signer", Addresses(), pipelines_namespace="kubeflow")
    made = {
        secret["metadata"]["name"]: secret["stringData"]
        for secret in secrets
        if secret["metadata"]["namespace"] == "kubeflow"
    }
    specification, platform = compiled[pipeline]
    executors = platform["deploymentSpec"]["executors"]
    assert set(executors) == set(specification["deploymentSpec"]["executors"])
    for name, executor in executors.items():
        assert {secret["secretName"] for secret in executor["secretAsEnv"]} == {f"kizu-{pipeline}"}, name
        for secret in executor["secretAsEnv"]:
            wanted = {pair["secretKey"] for pair in secret["keyToEnv"]}
            assert secret.get("optional") or wanted <= set(made[f"kizu-{pipeline}"]), name


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_step_carries_the_label_that_network_policies_know_it_by(compiled: dict[str, Any], pipeline: str) -> None:
    """The signer answers to pods with `kizu-pipeline: deployment`, Label Studio to those with `labeling`."""
    _, platform = compiled[pipeline]
    for name, executor in platform["deploymentSpec"]["executors"].items():
        labels = executor.get("podMetadata", {}).get("labels", {})
        assert labels.get("kizu-pipeline") == pipeline, f"{name} has the labels {labels}"

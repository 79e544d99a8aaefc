"""What the compiled pipelines ask of a cluster is what the manifests and the Secrets give.

The rest of what a compiled pipeline holds: tests/pipelines/test_compiled.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.deployment import keys
from deploy.k8s.credentials import Addresses, make
from pipelines.compile import PIPELINES, compile_all
from pipelines.wiring import CA_CONFIG_MAP, CA_FOLDER, IDENTITIES

pytestmark = pytest.mark.manifests


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Pipeline -> its part for Kubernetes."""
    folder = tmp_path_factory.mktemp("compiled")
    found = {}
    for path in compile_all(folder):
        _, platform = yaml.safe_load_all(path.read_text(encoding="utf-8"))
        found[path.stem] = platform["platforms"]["kubernetes"]
    return found


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
    for name, executor in compiled[pipeline]["deploymentSpec"]["executors"].items():
        for secret in executor["secretAsEnv"]:
            wanted = {pair["secretKey"] for pair in secret["keyToEnv"]}
            assert secret.get("optional") or wanted <= set(made[secret["secretName"]]), name


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_step_takes_the_session_token_of_a_temporary_key(compiled: dict[str, Any], pipeline: str) -> None:
    """It comes from the Secret with the key, and a Secret without it is as good."""
    for name, executor in compiled[pipeline]["deploymentSpec"]["executors"].items():
        of_key = {
            secret["secretName"]
            for secret in executor["secretAsEnv"]
            if any(pair["envVar"] == "AWS_ACCESS_KEY_ID" for pair in secret["keyToEnv"])
        }
        of_token = {
            secret["secretName"]
            for secret in executor["secretAsEnv"]
            if secret.get("optional")
            and any(pair["envVar"] == pair["secretKey"] == "AWS_SESSION_TOKEN" for pair in secret["keyToEnv"])
        }
        assert of_key == of_token != set(), name


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_step_finds_the_certificates_of_your_own_authority(compiled: dict[str, Any], pipeline: str) -> None:
    """Each step mounts the ConfigMap with the file that `KIZU_S3_CA_FILE` names, and starts where there is none."""
    for name, executor in compiled[pipeline]["deploymentSpec"]["executors"].items():
        (volume,) = executor["configMapAsVolume"]
        assert (volume["configMapName"], volume["mountPath"]) == (CA_CONFIG_MAP, CA_FOLDER), name
        assert volume["optional"] is True, name


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_step_carries_the_label_that_network_policies_know_it_by(compiled: dict[str, Any], pipeline: str) -> None:
    """The signer answers to pods with `kizu-pipeline: deployment`, Label Studio to those with `labeling`.

    A pipeline that works with the identity of another has that one's label.
    """
    for name, executor in compiled[pipeline]["deploymentSpec"]["executors"].items():
        labels = executor.get("podMetadata", {}).get("labels", {})
        assert labels.get("kizu-pipeline") == IDENTITIES[pipeline], f"{name} has the labels {labels}"

"""The compiled pipelines conform: to Kubeflow Pipelines' own schema, to a restricted namespace, to what a cluster has.

Each rule is checked on each step, so that a failure names the step.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from components import container_images
from components.settings import Settings
from pipelines.compile import FOLDER, PIPELINES
from pipelines.step_pods import USER, cores, tasks_of
from pipelines.wiring import CA_CONFIG_MAP, CA_FOLDER, IDENTITIES, OPTIONAL_KEYS, SECRET_KEYS
from tests.manifests.rendered import REPOSITORY, of_kind

pytestmark = pytest.mark.manifests

NAMESPACE = "kubeflow"
IMAGES = {
    getattr(container_images, name) for name in ("LABELING", "DATA", "TRAINING", "TRAINING_PERMISSIVE", "CONTROL")
}
# What may be in a step's part for Kubernetes. Volumes of the node, host namespaces or another image are not.
KNOWN_TO_PODS = {"configMapAsVolume", "podMetadata", "secretAsEnv", "securityContext"}


@cache
def compiled(pipeline: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(specification, part for Kubernetes)"""
    specification, platform = yaml.safe_load_all((FOLDER / f"{pipeline}.yaml").read_text(encoding="utf-8"))
    return specification, platform["platforms"]["kubernetes"]


STEPS = [
    pytest.param(pipeline, step, id=f"{pipeline}-{step.removeprefix('exec-')}")
    for pipeline in PIPELINES
    for step in compiled(pipeline)[0]["deploymentSpec"]["executors"]
]


def container(pipeline: str, step: str) -> dict[str, Any]:
    return dict(compiled(pipeline)[0]["deploymentSpec"]["executors"][step]["container"])


def pod(pipeline: str, step: str) -> dict[str, Any]:
    return dict(compiled(pipeline)[1]["deploymentSpec"]["executors"][step])


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipeline_fits_the_schema_of_kubeflow_pipelines(pipeline: str) -> None:
    """No unknown field, in the version of the form that 2.x reads, compiled with the kfp that is pinned."""
    specification, _ = compiled(pipeline)
    read = json_format.ParseDict(specification, pipeline_spec_pb2.PipelineSpec())
    assert read.schema_version == "2.1.0"
    pinned = re.search(r"^kfp==(\S+)", (REPOSITORY / "locks" / "dev.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned
    assert read.sdk_version == f"kfp-{pinned[1]}"


@pytest.mark.parametrize(("pipeline", "step"), STEPS)
def test_a_step_fits_the_schema_of_its_part_for_kubernetes(pipeline: str, step: str) -> None:
    """No unknown field, and nothing that a step does not need: no volume of the node, no other account."""
    json_format.ParseDict(pod(pipeline, step), kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    assert set(pod(pipeline, step)) <= KNOWN_TO_PODS


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_each_step_has_a_part_for_kubernetes_and_one_task(pipeline: str) -> None:
    """A step without it would run without settings and as whoever the image says."""
    specification, kubernetes = compiled(pipeline)
    executors = set(specification["deploymentSpec"]["executors"])
    assert set(kubernetes["deploymentSpec"]["executors"]) == executors
    assert {step: len(list(tasks_of(specification, step))) for step in executors} == dict.fromkeys(executors, 1)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipeline_has_a_name_and_says_what_it_does(pipeline: str) -> None:
    """The name becomes part of the names of objects on the cluster."""
    info = compiled(pipeline)[0]["pipelineInfo"]
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", info["name"])
    assert info["description"].endswith(".")


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_run_ends_and_its_objects_go(pipeline: str) -> None:
    """There is a deadline, and the cluster keeps what failed for longer than what succeeded."""
    config = compiled(pipeline)[1]["pipelineConfig"]
    assert 0 < config["activeDeadlineSeconds"] <= 8 * 24 * 3600
    assert 0 < config["resourceTtlOnSuccess"] < config["resourceTtlOnFailure"] <= 14 * 24 * 3600


@pytest.mark.parametrize(("pipeline", "step"), STEPS)
def test_a_step_says_that_it_is_not_root(pipeline: str, step: str) -> None:
    """Pod Security `restricted` refuses a pod that does not say so; the account is that of our images."""
    context = pod(pipeline, step)["securityContext"]
    assert context == {"runAsNonRoot": True, "runAsUser": str(USER), "runAsGroup": str(USER)}


@pytest.mark.parametrize(("pipeline", "step"), STEPS)
def test_a_step_is_not_privileged(pipeline: str, step: str) -> None:
    """Nothing in the compiled text asks for more than a plain container."""
    text = yaml.safe_dump([container(pipeline, step), pod(pipeline, step)])
    assert not re.search(r"privileged|hostPath|hostNetwork|hostPID|hostIPC|capabilities|CAP_|docker\.sock", text, re.I)


@pytest.mark.parametrize(("pipeline", "step"), STEPS)
def test_a_step_asks_for_what_it_needs_and_is_limited(pipeline: str, step: str) -> None:
    """A namespace with a ResourceQuota refuses a pod without any of the four."""
    said = container(pipeline, step)["resources"]
    assert 0 < cores(said["resourceCpuRequest"]) <= cores(said["resourceCpuLimit"])
    assert 0 < said["memoryRequest"] <= said["memoryLimit"]
    assert {"resourceMemoryRequest", "resourceMemoryLimit"} <= set(said)
    assert "accelerator" not in said, "a GPU is asked for by the use case, not by the compiled file"


@pytest.mark.parametrize(("pipeline", "step"), STEPS)
def test_a_step_runs_one_of_our_images_with_a_version(pipeline: str, step: str) -> None:
    """Nothing is `latest`, and nothing is pulled from elsewhere."""
    image = container(pipeline, step)["image"]
    assert image in IMAGES
    assert image.endswith(f":{container_images.TAG}")


@pytest.mark.parametrize(("pipeline", "step"), STEPS)
def test_a_step_installs_nothing_and_carries_no_value_of_a_setting(pipeline: str, step: str) -> None:
    """Settings come by reference alone. The command is kfp's start of the step and the step's own source."""
    assert "env" not in container(pipeline, step)
    command = " ".join(container(pipeline, step)["command"])
    assert "pip" not in command.replace("pipeline", "")
    assert not re.search(r"https?://|AKIA|BEGIN [A-Z ]*PRIVATE KEY|password\s*=|token\s*=", command)


@pytest.mark.parametrize(("pipeline", "step"), STEPS)
def test_a_step_carries_our_labels(pipeline: str, step: str) -> None:
    """Network policies select it by `kizu-pipeline`, and people find it by `part-of`."""
    assert pod(pipeline, step)["podMetadata"]["labels"] == {
        "kizu-pipeline": IDENTITIES[pipeline],
        "app.kubernetes.io/part-of": "kizu",
    }


@pytest.mark.parametrize(("pipeline", "step"), STEPS)
def test_a_step_names_one_secret_and_only_keys_that_are_settings(pipeline: str, step: str) -> None:
    """The Secret is that of its pipeline, by its name; each key is an environment variable that the settings know."""
    known = {
        choice for field in Settings.model_fields.values() for choice in getattr(field.validation_alias, "choices", ())
    }
    needed, optional = pod(pipeline, step)["secretAsEnv"]
    for part in (needed, optional):
        assert part["secretName"] == f"kizu-{IDENTITIES[pipeline]}"
        assert part["secretNameParameter"] == {"runtimeValue": {"constant": part["secretName"]}}
        assert all(pair["envVar"] == pair["secretKey"] for pair in part["keyToEnv"])
    named = [pair["secretKey"] for part in (needed, optional) for pair in part["keyToEnv"]]
    assert sorted(named) == sorted({*SECRET_KEYS[IDENTITIES[pipeline]], *OPTIONAL_KEYS})
    assert set(named) <= known


@pytest.mark.parametrize(("pipeline", "step"), STEPS)
def test_a_step_mounts_the_certificates_and_nothing_else(pipeline: str, step: str) -> None:
    """The ConfigMap may be missing, and the step starts without it."""
    (volume,) = pod(pipeline, step)["configMapAsVolume"]
    assert (volume["configMapName"], volume["mountPath"], volume["optional"]) == (CA_CONFIG_MAP, CA_FOLDER, True)


@pytest.mark.parametrize(("pipeline", "step"), STEPS)
def test_a_step_is_started_again_with_growing_waits_and_is_never_cached(pipeline: str, step: str) -> None:
    """A server that is away for a minute ends no run, and kfp's cache knows no code digest."""
    (task,) = tasks_of(compiled(pipeline)[0], step)
    policy = task["retryPolicy"]
    assert 1 <= policy["maxRetryCount"] <= 3
    assert int(policy["backoffDuration"].removesuffix("s")) >= 10
    assert policy["backoffFactor"] >= 2
    assert not task["cachingOptions"].get("enableCache")


@pytest.mark.parametrize("overlay", ["local", "prod"])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_account_of_a_pipeline_is_in_the_manifests(pipeline: str, overlay: str) -> None:
    """A run is started with the ServiceAccount of its identity; without it the run would stay without a pod."""
    accounts = of_kind(overlay, "ServiceAccount")
    assert (NAMESPACE, f"kizu-{IDENTITIES[pipeline]}") in accounts


def test_the_compiled_files_are_the_same_wherever_they_are_compiled(tmp_path: Path) -> None:
    """Another folder, time zone, language, order of hashes and user: no byte differs from the committed files.

    Versions on Kubeflow Pipelines are named by the digest of these bytes.
    """
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": "4711", "TZ": "Asia/Tokyo",
        "LC_ALL": "C", "HOME": str(tmp_path / "home"), "USER": "somebody", "KIZU_KUEUE_QUEUE": "of-an-installation",
    }  # fmt: skip
    code = "from pathlib import Path; from pipelines.compile import compile_all; compile_all(Path('out'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for pipeline in PIPELINES:
        made = (tmp_path / "out" / f"{pipeline}.yaml").read_bytes()
        assert made == (FOLDER / f"{pipeline}.yaml").read_bytes(), pipeline

"""What the training's pod asks for, in what a cluster is given."""

import pytest
import yaml
from kfp import components

from components.use_case import Resources
from kizu.commands.runs import compile_command
from kizu.context import DEFAULT_USE_CASE, CommandError
from pipelines.compile import FOLDER, PIPELINES
from pipelines.training_pod import with_resources

TEXT = (FOLDER / "training.yaml").read_text(encoding="utf-8")
STEPS = ("train-detector", "prepare-base-weights")
ALL = Resources(
    cpu="3500m",
    memory="8Gi",
    gpus=2,
    gpu_type="amd.com/gpu",
    node_selector={"pool": "gpu", "zone": "a"},
    tolerations=(
        {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "value": "vision"},
    ),
    workers=4,
    shared_memory="1Gi",
    retries=3,
)


def parts(text):
    """(executors, executors of the platform, the tasks, the whole specification)"""
    specification, platform = yaml.safe_load_all(text)
    return (
        specification["deploymentSpec"]["executors"],
        platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"],
        specification["root"]["dag"]["tasks"],
        specification,
    )


@pytest.mark.parametrize("step", STEPS)
def test_all_that_a_use_case_asks_reaches_the_steps_that_train(step):
    """Requests and limits, GPUs, node selection, shared memory and the trainer's settings are in the compiled steps."""
    executors, platform, tasks, _ = parts(with_resources(TEXT, ALL))
    container = executors[f"exec-{step}"]["container"]
    resources = container["resources"]
    assert (resources["resourceCpuRequest"], resources["resourceCpuLimit"]) == ("3500m", "3500m")
    assert (resources["resourceMemoryRequest"], resources["resourceMemoryLimit"]) == ("8Gi", "8Gi")
    assert (resources["accelerator"]["resourceType"], resources["accelerator"]["resourceCount"]) == ("amd.com/gpu", "2")
    assert {item["name"]: item["value"] for item in container["env"]} == {
        "KIZU_TRAINING_THREADS": "4",
        "KIZU_TRAINING_DEVICE": "0,1",
        "KIZU_TRAINING_WORKERS": "4",
    }
    pod = platform[f"exec-{step}"]
    assert pod["nodeSelector"] == {"labels": {"pool": "gpu", "zone": "a"}}
    assert pod["tolerations"] == [
        {"effect": "NoSchedule", "key": "gpu", "operator": "Exists"},
        {"key": "team", "operator": "Equal", "value": "vision"},
    ]
    assert pod["emptyDirMounts"] == [
        {"medium": "Memory", "mountPath": "/dev/shm", "sizeLimit": "1Gi", "volumeName": "shared-memory"}
    ]
    assert tasks[step]["retryPolicy"]["maxRetryCount"] == 3


def test_nothing_else_of_the_pipeline_changes():
    """Other steps stay as they are, and so do image, command, settings and label of the steps that train."""
    executors, platform, tasks, specification = parts(with_resources(TEXT, ALL))
    old_executors, old_platform, old_tasks, old_specification = parts(TEXT)
    for step in STEPS:
        del executors[f"exec-{step}"]["container"]["env"]
        executors[f"exec-{step}"]["container"]["resources"] = old_executors[f"exec-{step}"]["container"]["resources"]
        for key in ("nodeSelector", "tolerations", "emptyDirMounts"):
            del platform[f"exec-{step}"][key]
        tasks[step]["retryPolicy"]["maxRetryCount"] = old_tasks[step]["retryPolicy"]["maxRetryCount"]
    assert (executors, platform, specification) == (old_executors, old_platform, old_specification)


@pytest.mark.parametrize("step", STEPS)
def test_without_a_wish_the_pod_trains_on_the_processors_and_is_started_again(step):
    """By default there is no shared memory, selector or toleration, and a lost pod is started again.

    It asks for what every training asks for, and the training takes as many threads as the limit allows.
    """
    executors, platform, tasks, _ = parts(with_resources(TEXT, Resources()))
    container = executors[f"exec-{step}"]["container"]
    assert container["env"] == [{"name": "KIZU_TRAINING_DEVICE", "value": "cpu"}]
    assert container["resources"] == parts(TEXT)[0][f"exec-{step}"]["container"]["resources"]
    assert platform[f"exec-{step}"] == parts(TEXT)[1][f"exec-{step}"]
    assert tasks[step]["retryPolicy"]["maxRetryCount"] == 2
    assert "retryPolicy" not in parts(with_resources(TEXT, Resources(retries=0)))[2][step]


def test_kubeflow_can_read_it():
    """kfp's own loader reads the changed pipeline."""
    loaded = components.load_component_from_text(with_resources(TEXT, ALL))
    assert loaded.name == "training"


@pytest.mark.parametrize("name", [name for name in PIPELINES if name != "training"])
def test_other_pipelines_stay_as_they_are(name):
    """A pipeline without a training step does not change."""
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert with_resources(text, ALL) == text


def test_the_command_compiles_with_a_use_cases_resources_to_a_folder_of_its_own(tmp_path):
    """Resources are compiled into another folder only: the committed files are the same for all use cases."""
    case = tmp_path / "case.yaml"
    shipped = yaml.safe_load(DEFAULT_USE_CASE.read_text(encoding="utf-8"))
    case.write_text(yaml.safe_dump({**shipped, "resources": {"memory": "3Gi"}}))
    with pytest.raises(CommandError, match="--output"):
        compile_command(None, case, as_resources=False)
    compile_command(tmp_path / "out", case, as_resources=False)
    executors = parts((tmp_path / "out" / "kizu-training-metal-tag.yaml").read_text(encoding="utf-8"))[0]
    for step in STEPS:
        assert executors[f"exec-{step}"]["container"]["resources"]["resourceMemoryLimit"] == "3Gi"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"kizu-{pipeline}-metal-tag.yaml" for pipeline in sorted(PIPELINES)
    ]

"""The compiled pipelines: what a cluster is given."""

import re

import pytest
import yaml

from components import container_images
from pipelines.compile import FOLDER, PIPELINES, compile_all
from pipelines.wiring import IDENTITIES, OPTIONAL_KEYS, SECRET_KEYS


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """The pipelines, compiled now: name -> (specification, platform)."""
    paths = compile_all(tmp_path_factory.mktemp("compiled"))
    return {path.stem: (path, list(yaml.safe_load_all(path.read_text(encoding="utf-8")))) for path in paths}


def tasks(specification):
    """Every task with a container, subpipelines included: executor label -> task."""
    found = {}
    components = [{"dag": specification["root"]["dag"]}, *specification["components"].values()]
    for component in components:
        for task in component.get("dag", {}).get("tasks", {}).values():
            label = specification["components"][task["componentRef"]["name"]].get("executorLabel")
            if label:
                found[label] = task
    return found


@pytest.mark.parametrize("name", PIPELINES)
def test_the_committed_file_is_what_the_code_compiles_to(fresh, name):
    """The committed YAML files equal a fresh compilation; `kizu compile` writes them."""
    committed = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert committed == fresh[name][0].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PIPELINES)
def test_every_task_gets_its_settings_from_its_pipelines_secret_alone(fresh, name):
    """Each step has exactly the keys of its pipeline's Secret, needed and optional, and of no other Secret."""
    specification, platform = fresh[name][1]
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == set(specification["deploymentSpec"]["executors"]) == set(tasks(specification))
    for executor in executors.values():
        needed, optional = executor["secretAsEnv"]
        assert needed["secretName"] == optional["secretName"] == f"kizu-{IDENTITIES[name]}"
        assert not needed.get("optional", False)
        assert optional["optional"] is True
        keys = [{item["envVar"]: item["secretKey"] for item in part["keyToEnv"]} for part in (needed, optional)]
        assert keys == [{key: key for key in SECRET_KEYS[IDENTITIES[name]]}, {key: key for key in OPTIONAL_KEYS}]


@pytest.mark.parametrize("name", PIPELINES)
def test_no_parameter_carries_a_secret_or_an_address(fresh, name):
    """No parameter is named like a secret or an address: Kubeflow's page shows parameters to all its users."""
    specification, _ = fresh[name][1]
    parameters = set(specification["root"]["inputDefinitions"]["parameters"])
    for component in specification["components"].values():
        parameters |= set(component.get("inputDefinitions", {}).get("parameters", {}))
    assert parameters
    assert [
        p for p in parameters if re.search(r"secret|password|token|api_?key|access_?key|endpoint|url$", p, re.I)
    ] == []


@pytest.mark.parametrize("name", PIPELINES)
def test_nothing_is_installed_when_a_step_starts(fresh, name):
    """Each step runs an image of ours and calls no pip: an air-gapped cluster has nowhere to install from."""
    specification, _ = fresh[name][1]
    ours = {container_images.LABELING, container_images.DATA, container_images.TRAINING, container_images.CONTROL}
    for executor in specification["deploymentSpec"]["executors"].values():
        assert executor["container"]["image"] in ours
        command = executor["container"]["command"]
        assert "pip" not in " ".join(command[:3])
        assert "pip install" not in " ".join(command)


@pytest.mark.parametrize("name", PIPELINES)
def test_kubeflows_cache_is_off_for_every_task(fresh, name):
    """No task has caching on: steps read state that changes, or find their own earlier work by digests."""
    specification, _ = fresh[name][1]
    assert {label for label, task in tasks(specification).items() if task["cachingOptions"].get("enableCache")} == set()


def test_a_model_is_registered_only_behind_the_gate(fresh):
    """The step that registers is in the branch of the gate's condition, not beside it."""
    specification, _ = fresh["training"][1]
    at_the_top = {task["componentRef"]["name"] for task in specification["root"]["dag"]["tasks"].values()}
    assert "comp-register-model" not in at_the_top
    conditions = [task for task in specification["root"]["dag"]["tasks"].values() if "triggerPolicy" in task]
    assert len(conditions) == 1
    assert "== true" in conditions[0]["triggerPolicy"]["condition"]


def test_the_lineage_of_kubeflow_leads_from_the_dataset_over_the_model_to_its_registration(fresh):
    """Dataset and model are artifacts, and each step that works with one has it as an input. Nothing reads them."""
    specification, _ = fresh["training"][1]
    found = {}
    for name, component in specification["components"].items():
        for side in ("inputDefinitions", "outputDefinitions"):
            for artifact, said in component.get(side, {}).get("artifacts", {}).items():
                kind = said["artifactType"]["schemaTitle"]
                if kind in ("system.Dataset", "system.Model"):
                    found[name.removeprefix("comp-"), side.removesuffix("Definitions"), artifact] = kind
    assert found == {
        ("freeze-dataset", "output", "dataset"): "system.Dataset",
        ("train-detector", "input", "dataset"): "system.Dataset",
        ("train-detector", "output", "model"): "system.Model",
        ("evaluate-model", "input", "model"): "system.Model",
        ("register-model", "output", "registered"): "system.Model",
    }
    given = {label: task.get("inputs", {}).get("artifacts", {}) for label, task in tasks(specification).items()}
    assert set(given["exec-train-detector"]) == {"dataset"}
    assert set(given["exec-evaluate-model"]) == {"model"}


def test_the_pipelines_hold_the_secrets_of_what_they_do():
    """Only labeling has the Label Studio key, only deployment the signer's address, and none the signer's keys."""
    assert [name for name in PIPELINES if "LABEL_STUDIO_API_KEY" in SECRET_KEYS[IDENTITIES[name]]] == ["labeling"]
    assert [name for name in PIPELINES if "KIZU_SIGNER_URL" in SECRET_KEYS[IDENTITIES[name]]] == ["deployment"]
    assert [name for name in PIPELINES if "KIZU_SIGNER_KEYS" in SECRET_KEYS[IDENTITIES[name]]] == []

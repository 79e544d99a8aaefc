"""The pods of the steps that train: the resources that a use case asks for are written into the compiled pipeline.

Processors, memory, selector and tolerations could be parameters of the pipeline; shared memory, retries and the image
could not. So each set of resources, and each detector with an image of its own, is a version of the pipeline.
"""

import copy
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from kfp import compiler, dsl, kubernetes

from components import container_images
from components.use_case import Resources, UseCase

_STEPS: Final = ("exec-prepare-base-weights", "exec-train-detector")


def with_resources(text: str, resources: Resources) -> str:
    """The compiled pipeline with these resources in the steps that train; a pipeline without such steps as it is.

    kfp compiles the resources in a pipeline of one step, from which they are copied, so that their form is kfp's own.
    """
    specification, *others = yaml.safe_load_all(text)
    executors = specification.get("deploymentSpec", {}).get("executors", {})
    steps = [step for step in _STEPS if step in executors]
    if not steps:
        return text
    pod_specification, *pod_platforms = _compiled(resources)
    pod = pod_specification["deploymentSpec"]["executors"]["exec-pod"]["container"]
    retries = pod_specification["root"]["dag"]["tasks"]["pod"].get("retryPolicy")
    for step in steps:
        executors[step]["container"] |= copy.deepcopy({key: pod[key] for key in ("resources", "env") if key in pod})
        for task in _tasks(specification, step):
            if retries:
                task["retryPolicy"] = dict(retries)
        for platform, pod_platform in zip(others, pod_platforms, strict=False):
            _executors(platform)[step] |= copy.deepcopy(_executors(pod_platform)["exec-pod"])
    return yaml.safe_dump_all([specification, *others], sort_keys=False)


def with_detector(text: str, detector: str) -> str:
    """The compiled pipeline with the detector's image in the steps that train; a pipeline without such steps as it is.

    Before, the pipeline names the image that has all detectors.
    """
    if detector == "yolov8":
        return text
    specification, *others = yaml.safe_load_all(text)
    executors = specification.get("deploymentSpec", {}).get("executors", {})
    steps = [step for step in _STEPS if step in executors]
    for step in steps:
        executors[step]["container"]["image"] = container_images.TRAINING_PERMISSIVE
    return yaml.safe_dump_all([specification, *others], sort_keys=False) if steps else text


def for_use_case(text: str, use_case: UseCase) -> str:
    """The compiled pipeline with the resources and the detector's image of a use case."""
    return with_detector(with_resources(text, use_case.resources), use_case.training.detector)


def ask(task: Any, resources: Resources) -> Any:
    """Set the resources on a kfp task and return the task."""
    if resources.cpu is not None:
        task.set_cpu_request(resources.cpu).set_cpu_limit(resources.cpu)
        # A process sees all processors of its node, not only its share of them.
        task.set_env_variable("KIZU_TRAINING_THREADS", str(_threads(resources.cpu)))
    if resources.memory is not None:
        task.set_memory_request(resources.memory).set_memory_limit(resources.memory)
    device = ",".join(str(number) for number in range(resources.gpus)) or "cpu"
    task.set_env_variable("KIZU_TRAINING_DEVICE", device)
    if resources.gpus:
        task.set_accelerator_type(resources.gpu_type).set_accelerator_limit(resources.gpus)
    for key, value in sorted(resources.node_selector.items()):
        kubernetes.add_node_selector(task, key, value)
    for toleration in resources.tolerations:
        given = {key: value for key, value in toleration.model_dump().items() if value}
        kubernetes.add_toleration(task, **given)
    if resources.workers:
        task.set_env_variable("KIZU_TRAINING_WORKERS", str(resources.workers))
        # Without it /dev/shm has 64 MB, and processes that load images end with "bus error".
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", "Memory", resources.shared_memory)  # noqa: S108
    if resources.retries:
        task.set_retry(resources.retries, backoff_duration="60s")
    return task


def _threads(cpu: str) -> int:
    cores = float(cpu.removesuffix("m")) / (1000 if cpu.endswith("m") else 1)
    return max(1, math.ceil(cores))


def _compiled(resources: Resources) -> list[dict[str, Any]]:
    """Compile a pipeline of one step with these resources: its specification, and its platform's if it has one."""

    @dsl.container_component
    def pod() -> dsl.ContainerSpec:
        return dsl.ContainerSpec(image="pod", command=["true"])

    @dsl.pipeline(name="pod")
    def one_step() -> None:
        ask(pod(), resources)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pod.yaml"
        compiler.Compiler().compile(one_step, str(path))
        return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def _executors(platform: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return found


def _tasks(specification: dict[str, Any], executor: str) -> Iterator[dict[str, Any]]:
    components = specification["components"]
    for dag in (specification["root"], *components.values()):
        for task in dag.get("dag", {}).get("tasks", {}).values():
            if components[task["componentRef"]["name"]].get("executorLabel") == executor:
                yield task

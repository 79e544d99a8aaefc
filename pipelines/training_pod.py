"""The pods of the steps that train: the resources that a use case asks for are written into the compiled pipeline.

Processors, memory, selector and tolerations could be parameters of the pipeline; shared memory, retries and the image
could not. So each set of resources, and each detector with an image of its own, is a version of the pipeline.
"""

from __future__ import annotations

import copy
import math
from typing import Any, Final

import yaml
from kfp import kubernetes

from components import container_images
from components.quantities import cores
from components.use_case import Resources, UseCase
from pipelines.step_pods import (
    SIZES,
    TRAINING_STEPS,
    PodSize,
    executors_of,
    one_step,
    set_retries,
    set_size,
    tasks_of,
)

_STEPS: Final = tuple(f"exec-{step}" for step in TRAINING_STEPS)


def with_resources(text: str, resources: Resources, size: PodSize = SIZES["training"]) -> str:
    """The compiled pipeline with these resources in the steps that train; a pipeline without such steps as it is.

    kfp compiles the resources in a pipeline of one step, from which they are copied, so that their form is kfp's own.

    Args:
        size: of the steps that train, where the use case asks for no cpu or memory.
    """
    specification, *others = yaml.safe_load_all(text)
    executors = specification.get("deploymentSpec", {}).get("executors", {})
    steps = [step for step in _STEPS if step in executors]
    if not steps:
        return text
    pod_specification, pod_platforms = one_step(lambda task: ask(task, resources, size))
    pod = pod_specification["deploymentSpec"]["executors"]["exec-pod"]["container"]
    retries = pod_specification["root"]["dag"]["tasks"]["pod"].get("retryPolicy")
    for step in steps:
        executors[step]["container"] |= copy.deepcopy({key: pod[key] for key in ("resources", "env") if key in pod})
        for task in tasks_of(specification, step):
            task.pop("retryPolicy", None)
            if retries:
                task["retryPolicy"] = dict(retries)
        for platform, pod_platform in zip(others, pod_platforms, strict=False):
            executors_of(platform)[step] |= copy.deepcopy(executors_of(pod_platform)["exec-pod"])
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


def for_use_case(text: str, use_case: UseCase, size: PodSize = SIZES["training"]) -> str:
    """The compiled pipeline with the resources and the detector's image of a use case.

    Args:
        size: of the steps that train, where the use case asks for no cpu or memory.
    """
    return with_detector(with_resources(text, use_case.resources, size), use_case.training.detector)


def ask(task: Any, resources: Resources, size: PodSize) -> Any:
    """Set the resources on a kfp task and return the task."""
    cpu, memory = resources.cpu, resources.memory
    set_size(task, PodSize((cpu, cpu) if cpu else size.cpu, (memory, memory) if memory else size.memory))
    if cpu is not None:
        # A process sees all processors of its node, not only its share of them.
        task.set_env_variable("KIZU_TRAINING_THREADS", str(_threads(cpu)))
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
        set_retries(task, resources.retries)
    return task


def _threads(cpu: str) -> int:
    return max(1, math.ceil(cores(cpu)))

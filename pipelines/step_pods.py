"""What each step's pod asks of a cluster: processors and memory, the account of the process, retries, and a queue.

The compiled files have the defaults. An installation's own values come from its settings and are written into the
compiled text, in the form in which kfp itself compiles them.
"""

# No `from __future__ import annotations`: kfp reads the annotations of the step below.
import copy
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import yaml
from kfp import compiler, dsl, kubernetes

from components.quantities import BYTES, CPU, byte_count, cores
from components.settings import Settings, SettingsError

USER: Final = 10001
"""User and group of each image's process. The images have no other account."""

LONGEST_RUN_DAYS: Final = 8
"""After so many days any run is ended from outside."""

QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
"""The pod label by which Kueue finds the LocalQueue."""

_SIZE: Final = re.compile(rf"cpu=({CPU})/({CPU}) memory=({BYTES})/({BYTES})")
_QUEUE: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class PodSize:
    """Processors and memory of a step's pod, in Kubernetes' notation (`500m`, `2`; `256Mi`): request, then limit.

    Raises:
        SettingsError: a request is above its limit.
    """

    cpu: tuple[str, str]
    memory: tuple[str, str]

    def __post_init__(self) -> None:
        for what, (request, limit), amount in (("cpu", self.cpu, cores), ("memory", self.memory, byte_count)):
            if amount(request) > amount(limit):
                raise SettingsError(f"expected a request of {what} that is within its limit, but got {request}/{limit}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `cpu=<request>/<limit> memory=<request>/<limit>`.

        Raises:
            SettingsError: the text has another form.
        """
        found = _SIZE.fullmatch(text.strip())
        if found is None:
            raise SettingsError(f"expected a size such as 'cpu=100m/1 memory=256Mi/2Gi', but got {text!r}")
        return cls((found[1], found[2]), (found[3], found[4]))


SIZES: Final[Mapping[str, PodSize]] = {
    "small": PodSize(("100m", "1"), ("256Mi", "2Gi")),
    "large": PodSize(("500m", "4"), ("1Gi", "8Gi")),
    "training": PodSize(("500m", "8"), ("2Gi", "16Gi")),
}
"""The sizes of steps, and what they ask for unless the settings say otherwise."""

_SIZE_OF: Final[Mapping[str, str]] = {
    "freeze-dataset": "large",
    "evaluate-model": "large",
    "report-labels": "large",
    "prepare-base-weights": "training",
    "train-detector": "training",
}
"""Step -> size. A step that is not named is small: it reads and writes a few documents."""

TRAINING_STEPS: Final = tuple(step for step, size in _SIZE_OF.items() if size == "training")


def size_of(step: str) -> str:
    """The size of a step, by its name in the compiled pipeline."""
    return _SIZE_OF.get(step, "small")


@dataclass(frozen=True, slots=True)
class StepPods:
    """What an installation gives to the pods of steps. queue: Kueue's LocalQueue; empty where there is no Kueue.

    Raises:
        SettingsError: a size is missing, or the queue is no name of Kubernetes.
    """

    sizes: Mapping[str, PodSize] = field(default_factory=lambda: dict(SIZES))
    queue: str = ""

    def __post_init__(self) -> None:
        if set(self.sizes) != set(SIZES):
            raise SettingsError(f"expected the sizes {', '.join(SIZES)}, but got {', '.join(self.sizes)}")
        if self.queue and not _QUEUE.fullmatch(self.queue):
            raise SettingsError(f"expected KIZU_KUEUE_QUEUE to be the name of a LocalQueue, but got {self.queue!r}")

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """As the settings say.

        Raises:
            SettingsError: a setting has the wrong form.
        """
        said = {"small": settings.steps_small, "large": settings.steps_large, "training": settings.steps_training}
        sizes = {name: PodSize.parse(text) if text else SIZES[name] for name, text in said.items()}
        return cls(sizes, settings.kueue_queue or "")


def ask_of_every_step(task: Any, size: PodSize) -> Any:
    """Set account, processors, memory and retries on a kfp task and return the task.

    The images' processes run as uid 10001. Without `runAsNonRoot`, a namespace with Pod Security `restricted` refuses
    the pod; the rest of what `restricted` asks for (no privilege escalation, no capabilities, seccomp) cannot be set
    through kfp: the API server of Kubeflow Pipelines sets it on every pod.
    """
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    set_size(task, size)
    # Every step can be run again: it finds its own earlier work. A server that is away for a minute ends no run.
    return set_retries(task, 2)


def set_size(task: Any, size: PodSize) -> Any:
    """Set requests and limits on a kfp task and return the task."""
    task.set_cpu_request(size.cpu[0]).set_cpu_limit(size.cpu[1])
    request, limit = (memory.replace("k", "K") for memory in size.memory)  # kfp's own spelling
    return task.set_memory_request(request).set_memory_limit(limit)


def set_retries(task: Any, times: int) -> Any:
    """Have a lost or failed pod started again, each time after a longer wait.

    Argo counts `backoff_max_duration` from the start of the first pod: once it is over, no pod is started again, and
    one that was is ended. kfp's default is an hour, less than many trainings take; the run's own deadline counts here.
    """
    longest = f"{LONGEST_RUN_DAYS * 24 * 3600}s"
    return task.set_retry(times, backoff_duration="20s", backoff_factor=2.0, backoff_max_duration=longest)


def with_step_pods(text: str, pods: StepPods) -> str:
    """The compiled pipeline with an installation's sizes and queue; the text itself where they are the defaults."""
    if pods == StepPods():
        return text
    specification, *others = yaml.safe_load_all(text)
    executors = {
        name.removeprefix("exec-"): executor for name, executor in specification["deploymentSpec"]["executors"].items()
    }
    for size in sorted({size_of(step) for step in executors}):
        pod, _ = one_step(partial(set_size, size=pods.sizes[size]))
        resources = pod["deploymentSpec"]["executors"]["exec-pod"]["container"]["resources"]
        for step, executor in executors.items():
            if size_of(step) == size:
                executor["container"]["resources"] = copy.deepcopy(resources)
    for platform in others:
        for executor in executors_of(platform).values():
            if pods.queue:
                executor.setdefault("podMetadata", {}).setdefault("labels", {})[QUEUE_LABEL] = pods.queue
    return yaml.safe_dump_all([specification, *others], sort_keys=False)


def one_step(ask: Callable[[Any], Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Compile a pipeline of the one step `pod`, of which something is asked: its specification, and its platforms."""

    @dsl.container_component
    def pod() -> dsl.ContainerSpec:
        return dsl.ContainerSpec(image="pod", command=["true"])

    @dsl.pipeline(name="pod")
    def pipeline() -> None:
        ask(pod())

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pod.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        specification, *platforms = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return specification, platforms


def executors_of(platform: dict[str, Any]) -> dict[str, Any]:
    """The executors of a compiled pipeline's part for Kubernetes."""
    found: dict[str, Any] = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return found


def tasks_of(specification: dict[str, Any], executor: str) -> Iterator[dict[str, Any]]:
    """The tasks of a compiled pipeline, those in conditions included, that an executor runs."""
    components = specification["components"]
    for dag in (specification["root"], *components.values()):
        for task in dag.get("dag", {}).get("tasks", {}).values():
            if components[task["componentRef"]["name"]].get("executorLabel") == executor:
                yield task

"""A pipeline for one product: the use case is the default of its parameter, so that a run needs no input.

A compiled pipeline is the same for all products. What a cluster is given carries the product's name and the use case:
*Create run* in the page of Kubeflow Pipelines then works as it is, and so does a recurring run.
"""

from __future__ import annotations

import hashlib
from typing import Final

import yaml

from components.container_images import REGISTRY
from components.use_case import UseCase
from pipelines.step_pods import StepPods, with_step_pods
from pipelines.training_pod import for_use_case

_PREFIX: Final = "kizu-"


def name_for(pipeline: str, product: str) -> str:
    """What a pipeline is called on a cluster: `kizu-training-metal-tag`."""
    return f"{_PREFIX}{pipeline}-{product}"


def text_for(text: str, pipeline: str, use_case: UseCase, pods: StepPods, registry: str | None) -> str:
    """A compiled pipeline as a cluster is given it for a product: name, use case, resources and images.

    The same arguments give the same bytes.

    Args:
        pipeline: its own name: `training`.
        registry: where the cluster pulls our images from; None: as compiled.
    """
    text = for_use_case(with_step_pods(text, pods), use_case, pods.sizes["training"])
    specification, *others = yaml.safe_load_all(text)
    specification["pipelineInfo"]["name"] = name_for(pipeline, use_case.name)
    parameter = specification["root"]["inputDefinitions"]["parameters"]["use_case"]
    parameter |= {"defaultValue": use_case.to_json(), "isOptional": True}
    return with_registry(yaml.safe_dump_all([specification, *others], sort_keys=False), registry)


def version_of(text: str, name: str) -> str:
    """What the version of a pipeline with this text is called: its name, and the digest of the text."""
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def as_resources(text: str, namespace: str) -> str:
    """A pipeline for a product as objects of Kubernetes: a `Pipeline` and its `PipelineVersion`.

    Kubeflow Pipelines 2.14 and newer keeps its pipelines so where its API server has `--pipelinesStoreKubernetes`. A
    repository that is applied to the cluster then installs them.

    Args:
        text: as `text_for` returns it.
    """
    specification, platform = yaml.safe_load_all(text)
    name, description = specification["pipelineInfo"]["name"], specification["pipelineInfo"]["description"]
    labels = {"app.kubernetes.io/part-of": "kizu"}
    version = version_of(text, name)
    documents = [
        {
            "apiVersion": "pipelines.kubeflow.org/v2beta1",
            "kind": "Pipeline",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"displayName": name, "description": description},
        },
        {
            "apiVersion": "pipelines.kubeflow.org/v2beta1",
            "kind": "PipelineVersion",
            "metadata": {"name": version, "namespace": namespace, "labels": labels},
            "spec": {
                "displayName": version,
                "pipelineName": name,
                "description": description,
                "pipelineSpec": specification,
                "platformSpec": platform,
            },
        },
    ]
    return yaml.safe_dump_all(documents, sort_keys=False)


def with_registry(text: str, registry: str | None) -> str:
    """The compiled pipeline with the images of another registry: `kizu/data` becomes `<registry>/data`."""
    if not registry:
        return text
    documents = list(yaml.safe_load_all(text))
    for document in documents:
        executors = document.get("deploymentSpec", {}).get("executors", {})
        for executor in executors.values():
            container = executor.get("container", {})
            image = str(container.get("image", ""))
            if image.startswith(f"{REGISTRY}/"):
                container["image"] = f"{registry.rstrip('/')}/{image.removeprefix(f'{REGISTRY}/')}"
    return yaml.safe_dump_all(documents, sort_keys=False)

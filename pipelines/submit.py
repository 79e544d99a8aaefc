"""Upload a compiled pipeline to Kubeflow Pipelines and start a run of it."""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import kfp
import yaml

from components.container_images import REGISTRY
from components.use_case import UseCase
from pipelines.step_pods import StepPods, with_step_pods
from pipelines.training_pod import for_use_case

_MOST_SAID: Final = 1000
_LOGIN: Final = (
    "If it is behind a login, set KIZU_KFP_TOKEN to a token, or KIZU_KFP_COOKIE to the cookie of a browser that is "
    "logged in"
)


class SubmitError(RuntimeError):
    """Kubeflow Pipelines does not answer or refuses the pipeline."""


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


def submit(
    compiled: Path,
    arguments: Mapping[str, Any],
    *,
    endpoint: str,
    namespace: str,
    experiment: str,
    registry: str | None,
    use_case: UseCase | None = None,
    pods: StepPods | None = None,
    token: str | None = None,
    cookie: str | None = None,
    run_name: str | None = None,
) -> str:
    """Upload a pipeline, as a new version where it is known, and start a run; returns the run's id.

    use_case: its resources and detector are written into the steps that train, if the pipeline has such steps.
    token, cookie: a bearer token, or a session's cookie (`name=value`), where the API is behind a login.
    run_name: what the run is called; the pipeline's name by default.

    Raises:
        SubmitError: the endpoint does not answer or refuses.
    """
    name = compiled.stem
    text = compiled.read_text(encoding="utf-8")
    pods = pods or StepPods()
    text = with_step_pods(text, pods)
    if use_case is not None:
        text = for_use_case(text, use_case, pods.sizes["training"])
    text = with_registry(text, registry)
    version_name = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / f"{name}.yaml"
        package.write_text(text, encoding="utf-8")
        try:
            client = connect(endpoint, namespace, token, cookie)
            pipeline_id, version_id = _upload(client, package, name, version_name)
            experiment_id = client.create_experiment(experiment, namespace=namespace).experiment_id
            run = client.run_pipeline(
                experiment_id,
                job_name=run_name or name,
                params=dict(arguments),
                pipeline_id=pipeline_id,
                version_id=version_id,
                enable_caching=False,
            )
        except Exception as e:  # the generated client raises errors of three libraries
            said = f"Kubeflow Pipelines at {endpoint} did not take the pipeline {name}: {str(e).strip()[:_MOST_SAID]}"
            raise SubmitError(f"{said}. {_LOGIN}" if _wants_a_login(e) else said) from e
    return str(run.run_id)


def connect(endpoint: str, namespace: str, token: str | None, cookie: str | None) -> Any:
    """A client of the API. It asks the server at once, and raises the errors of three libraries."""
    with warnings.catch_warnings():
        # The client warns at each start about the versions that it supports; nobody can act on it.
        warnings.filterwarnings("ignore", "This client only works with Kubeflow", FutureWarning)
        return kfp.Client(host=endpoint, namespace=namespace, existing_token=token, cookies=cookie)


def _wants_a_login(error: Exception) -> bool:
    """Whether an answer is that of a gateway that knows no user."""
    return getattr(error, "status", None) in (401, 403)


def _upload(client: Any, package: Path, name: str, version_name: str) -> tuple[str, str]:
    """Make the text a version of the pipeline, unless it is one; returns (pipeline id, version id)."""
    pipeline_id = client.get_pipeline_id(name)
    if pipeline_id is None:
        pipeline_id = client.upload_pipeline(str(package), pipeline_name=name).pipeline_id
    if pipeline_id is None:
        # The client reads the page of a login as an answer without any field.
        raise SubmitError(f"it answers, but not as Kubeflow Pipelines does. {_LOGIN}")
    predicate = {"key": "display_name", "operation": "EQUALS", "stringValue": version_name}
    token = ""
    while True:
        # The newest first: a server that does not know the filter still finds a recent version on its first page.
        page = client.list_pipeline_versions(
            pipeline_id,
            page_token=token,
            page_size=100,
            sort_by="created_at desc",
            filter=json.dumps({"predicates": [predicate]}),
        )
        for version in page.pipeline_versions or []:
            if version.display_name == version_name:
                return pipeline_id, version.pipeline_version_id
        token = page.next_page_token or ""
        if not token:
            break
    uploaded = client.upload_pipeline_version(str(package), version_name, pipeline_id=pipeline_id)
    return pipeline_id, uploaded.pipeline_version_id

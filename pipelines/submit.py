"""Upload a pipeline to Kubeflow Pipelines for a product, and start a run of it."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kfp_server_api

from components.use_case import UseCase
from pipelines.connection import Api, SubmitError
from pipelines.product import name_for, text_for, version_of
from pipelines.wiring import IDENTITIES

__all__ = ["Started", "SubmitError", "Uploaded", "service_account", "submit", "upload"]


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A pipeline on the cluster, and the version with our text. name: of the pipeline."""

    name: str
    pipeline_id: str
    version_id: str


@dataclass(frozen=True, slots=True)
class Started:
    """A run that was started. address: its page for people."""

    run_id: str
    address: str


def service_account(pipeline: str) -> str:
    """The ServiceAccount that the runs of a pipeline have: that of its identity, with no right to Secrets of ours."""
    return f"kizu-{IDENTITIES[pipeline]}"


def submit(
    api: Api,
    compiled: Path,
    use_case: UseCase,
    arguments: Mapping[str, Any],
    *,
    run_name: str | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Started:
    """Upload a pipeline for a product, as a new version where its text is new, and start a run.

    Args:
        compiled: the compiled pipeline; the file has the pipeline's name.
        arguments: of the run. Those that are missing have their defaults, the use case among them.
        run_name: what the run is called. Without it, a name that no other run has: where the answer to the start is
            lost, the run is found by it.

    Raises:
        SubmitError: the API does not answer or refuses.
    """
    uploaded = upload(api, compiled, use_case)
    called = run_name or f"{uploaded.name} {now():%Y-%m-%d %H:%M:%S} {secrets.token_hex(3)}"
    run = kfp_server_api.V2beta1Run(
        experiment_id=experiment_of(api, use_case.name),
        display_name=called,
        pipeline_version_reference=reference_to(uploaded),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=dict(arguments)),
        service_account=service_account(compiled.stem),
    )
    try:
        run_id = str(api.ask("start the run", api.runs.run_service_create_run, run).run_id)
    except SubmitError as e:
        if e.refused or run_name is not None:  # a caller who names runs finds them again itself
            raise
        started = api.named("find the run", api.runs.run_service_list_runs, "runs", called, namespace=api.at.namespace)
        if not started:
            raise
        run_id = str(started[0].run_id)
    return Started(run_id, api.at.address_of(run_id))


def upload(api: Api, compiled: Path, use_case: UseCase) -> Uploaded:
    """Make the text of a pipeline for a product a version on the cluster, unless it is one.

    A version is named by the digest of its text. Of two callers at once, the second takes what the first made.

    Raises:
        SubmitError: the API does not answer or refuses.
    """
    name = name_for(compiled.stem, use_case.name)
    text = text_for(compiled.read_text(encoding="utf-8"), compiled.stem, use_case, api.at.pods, api.at.registry)
    version = version_of(text, name)
    pipeline_id = _pipeline(api, name, f"{compiled.stem} of {use_case.name}, by Kizu")

    def found() -> str | None:
        versions = api.named(
            "list the versions of the pipeline", api.pipelines.pipeline_service_list_pipeline_versions,
            "pipeline_versions", version, pipeline_id,
        )  # fmt: skip
        return str(versions[0].pipeline_version_id) if versions else None

    def make() -> str:
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / f"{name}.yaml"
            package.write_text(text, encoding="utf-8")
            made = api.ask(
                f"take the pipeline {name}", api.uploads.upload_pipeline_version, str(package),
                name=version, pipelineid=pipeline_id,
            )  # fmt: skip
        return str(made.pipeline_version_id)

    return Uploaded(name, pipeline_id, _found_or_made(found, make))


def experiment_of(api: Api, name: str) -> str:
    """The id of an experiment, which is made where there is none.

    Raises:
        SubmitError: the API does not answer or refuses.
    """

    def found() -> str | None:
        same = api.named(
            "list the experiments", api.experiments.experiment_service_list_experiments, "experiments", name,
            namespace=api.at.namespace,
        )  # fmt: skip
        return str(same[0].experiment_id) if same else None

    def make() -> str:
        asked = kfp_server_api.V2beta1Experiment(display_name=name, namespace=api.at.namespace)
        made = api.ask("make the experiment", api.experiments.experiment_service_create_experiment, asked)
        return str(made.experiment_id)

    return _found_or_made(found, make)


def reference_to(uploaded: Uploaded) -> kfp_server_api.V2beta1PipelineVersionReference:
    """What a run or a recurring run names a version by."""
    return kfp_server_api.V2beta1PipelineVersionReference(
        pipeline_id=uploaded.pipeline_id, pipeline_version_id=uploaded.version_id
    )


def _pipeline(api: Api, name: str, description: str) -> str:
    """The id of a pipeline, which is made where there is none: without a version, because uploading makes its own."""

    def found() -> str | None:
        same = api.named(
            "list the pipelines", api.pipelines.pipeline_service_list_pipelines, "pipelines", name,
            namespace=api.at.namespace,
        )  # fmt: skip
        return str(same[0].pipeline_id) if same else None

    def make() -> str:
        asked = kfp_server_api.V2beta1Pipeline(
            name=name, display_name=name, description=description, namespace=api.at.namespace
        )
        made = api.ask(f"make the pipeline {name}", api.pipelines.pipeline_service_create_pipeline, asked)
        return str(made.pipeline_id)

    return _found_or_made(found, make)


def _found_or_made(found: Callable[[], str | None], make: Callable[[], str]) -> str:
    """The id of an object that is there, or was made.

    Where making it fails, it is looked for once more: another caller may have made it meanwhile (Kubeflow Pipelines
    says so with status 409, or with 500), or the answer was lost.
    """
    if (known := found()) is not None:
        return known
    try:
        return make()
    except SubmitError:
        if (known := found()) is not None:
            return known
        raise

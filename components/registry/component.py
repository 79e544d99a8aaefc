# mypy: disable-error-code="valid-type"
"""The kfp side of registration."""

from typing import NamedTuple

from kfp import dsl

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def register_model(
    run_id: str, use_case: str, label_version: int, pipeline_run: str, registered: dsl.Output[dsl.Model]
) -> NamedTuple("Outputs", [("model", str), ("version", int)]):
    """Register the model of a run that passed its gate. A person approves it then."""
    from components.lineage_artifact import describe
    from components.registry.register import register
    from components.settings import settings
    from components.stores.models.registry import ModelRegistry
    from components.use_case import parse_use_case

    config = settings()
    version = register(
        ModelRegistry.from_settings(config),
        run_id,
        parse_use_case(use_case),
        int(label_version),
        # On one machine kfp invents an id; the settings have the id of this run's record in the state bucket.
        pipeline_run=config.local_run or pipeline_run,
        datasets=config.bucket("datasets"),
    )
    uri = f"models:/{version.name}/{version.version}"
    describe(registered, uri, digest=version.tags.get("model_sha256", ""), run_id=run_id, version=version.version)
    return (version.name, version.version)


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def find_version(use_case: str, version: int, model: dsl.Output[dsl.Model]) -> NamedTuple(
    "Outputs", [("run_id", str), ("dataset_digest", str), ("version", int)]
):
    """The training run and the dataset of a registered version; version 0: of the newest one."""
    from components.lineage_artifact import describe
    from components.settings import settings
    from components.stores.models.registry import ModelRegistry
    from components.use_case import parse_use_case

    registry, name = ModelRegistry.from_settings(settings()), parse_use_case(use_case).name
    newest = registry.newest_versions(name, {}, 1) if int(version) <= 0 else []
    found = newest[0] if newest else registry.version(name, int(version))
    if not found.run_id or "dataset_digest" not in found.tags:
        raise ValueError(
            f"expected {found.name} version {version} to name its run and its dataset, as `kizu train` registers it"
        )
    digest, uri = found.tags.get("model_sha256", ""), f"models:/{found.name}/{found.version}"
    describe(model, uri, digest=digest, run_id=found.run_id, version=found.version)
    return (found.run_id, found.tags["dataset_digest"], found.version)


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def renew_version(use_case: str, version: int, report_digest: str) -> NamedTuple(
    "Outputs", [("passed", bool), ("approval", str)]
):
    """Bring a registered version up to date with the evaluation that its run has now.

    report_digest: of the evaluation, which has to run before this step.
    """
    from components.registry.register import renew
    from components.settings import settings
    from components.stores.models.registry import ModelRegistry
    from components.use_case import parse_use_case

    config = settings()
    registry, policy = ModelRegistry.from_settings(config), parse_use_case(use_case)
    known = registry.version(policy.name, int(version))
    gate = renew(registry, known, policy, report_digest=report_digest, datasets=config.bucket("datasets"))
    return (gate.passed, registry.version(policy.name, int(version)).approval)

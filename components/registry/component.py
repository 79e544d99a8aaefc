# mypy: disable-error-code="valid-type"
"""The kfp side of registration."""

from typing import NamedTuple

from kfp import dsl

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def register_model(run_id: str, use_case: str, label_version: int, pipeline_run: str) -> NamedTuple(
    "Outputs", [("model", str), ("version", int)]
):
    """Register the model of a run that passed its gate. A person approves it then."""
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
    return (version.name, version.version)

# mypy: disable-error-code="valid-type"
"""The kfp side of registration."""

from typing import NamedTuple

from kfp import dsl

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def register_model(run_id: str, use_case: str, label_version: int, pipeline_run: str) -> NamedTuple(
    "Outputs", model=str, version=int
):
    """Register a model that passed its gate, for a person to approve."""
    from components.registry.register import run

    version = run(run_id, use_case, int(label_version), pipeline_run)
    return (version.name, version.version)

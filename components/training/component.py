# SPDX-License-Identifier: AGPL-3.0-only
# mypy: disable-error-code="valid-type"
"""The kfp side of training."""

from typing import NamedTuple

from kfp import dsl

from components import images


@dsl.component(base_image=images.TRAINING, install_kfp_package=False)
def train_detector(dataset_digest: str, use_case: str, force: bool) -> NamedTuple(
    "Outputs", run_id=str, model_sha256=str, note=str
):
    """A dataset, by digest -> a finished MLflow run with model/model.onnx.

    note: that it was trained now, or which version or failed gate an earlier run with these inputs led to.
    """
    from components.training.job import run

    outcome = run(dataset_digest, use_case, force=bool(force))
    return (outcome.run_id, outcome.model_sha256, outcome.note)

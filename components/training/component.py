# mypy: disable-error-code="valid-type"
"""The kfp side of training."""

from typing import NamedTuple

from kfp import dsl

from components import container_images


@dsl.component(base_image=container_images.TRAINING, install_kfp_package=False)
def prepare_base_weights(use_case: str) -> NamedTuple("Outputs", [("uri", str), ("sha256", str)]):
    """Prepare the base weights of a use case; uri and sha256 are empty where its training begins from scratch."""
    from components.settings import settings
    from components.training.base_weights import prepare
    from components.use_case import parse_use_case

    weights = prepare(settings(), parse_use_case(use_case).training)
    return (weights.uri, weights.sha256) if weights is not None else ("", "")


@dsl.component(base_image=container_images.TRAINING, install_kfp_package=False)
def train_detector(
    dataset_digest: str,
    use_case: str,
    base_uri: str,
    base_sha256: str,
    force: bool,
    model: dsl.Output[dsl.Model],
    dataset: dsl.Input[dsl.Dataset] = None,
) -> NamedTuple("Outputs", [("run_id", str), ("model_sha256", str), ("note", str)]):
    """Train on a dataset; run_id is a finished MLflow run with model/model.onnx.

    note: that the model was trained now, or which version or failed gate an earlier run with the same inputs led to.
    dataset, model: for the lineage.
    """
    from components.lineage_artifact import describe
    from components.settings import settings
    from components.training.job import run
    from components.use_case import BaseWeights, parse_use_case

    base = BaseWeights(uri=base_uri, sha256=base_sha256) if base_uri else None
    outcome = run(settings(), parse_use_case(use_case), dataset_digest, base, force=bool(force))
    uri = f"runs:/{outcome.run_id}/model/model.onnx"
    describe(model, uri, digest=outcome.model_sha256, run_id=outcome.run_id, dataset_digest=dataset_digest)
    return (outcome.run_id, outcome.model_sha256, outcome.note)

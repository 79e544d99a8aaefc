# mypy: disable-error-code="valid-type"
"""The kfp side of freezing a dataset."""

from typing import NamedTuple

from kfp import dsl

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def freeze_dataset(use_case: str, label_version: int, dataset: dsl.Output[dsl.Dataset]) -> NamedTuple(
    "Outputs", [("dataset_digest", str), ("label_version", int), ("images", int)]
):
    """Freeze approved labels into a dataset manifest.

    label_version: of the label store; -1 takes the latest labels. dataset: where the manifest is, and its digest.
    """
    from components.dataset.freeze import freeze
    from components.lineage_artifact import describe
    from components.settings import settings
    from components.stores.datasets.manifest import manifest_key
    from components.use_case import parse_use_case

    config = settings()
    frozen = freeze(config, parse_use_case(use_case), int(label_version))
    uri = f"s3://{config.bucket('datasets')}/{manifest_key(frozen.digest)}"
    describe(dataset, uri, digest=frozen.digest, label_version=frozen.label_version, images=frozen.images)
    return (frozen.digest, frozen.label_version, frozen.images)

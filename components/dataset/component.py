# mypy: disable-error-code="valid-type"
"""The kfp side of freezing a dataset."""

from typing import NamedTuple

from kfp import dsl

from components import container_images


@dsl.component(base_image=container_images.DATA, install_kfp_package=False)
def freeze_dataset(use_case: str, label_version: int) -> NamedTuple(
    "Outputs", [("dataset_digest", str), ("label_version", int), ("images", int)]
):
    """Freeze approved labels into a dataset manifest.

    label_version: of the label store; -1 takes the latest labels.
    """
    from components.dataset.freeze import freeze
    from components.settings import settings
    from components.use_case import parse_use_case

    frozen = freeze(settings(), parse_use_case(use_case), int(label_version))
    return (frozen.digest, frozen.label_version, frozen.images)

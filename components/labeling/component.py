"""The components of the pipeline `labeling`. use_case: its JSON text; wait_s: how long to wait for people, seconds."""

from typing import NamedTuple

from kfp import dsl

from components import container_images

# kfp reads these signatures from the source, so that the outputs are spelled out in place.
# mypy: disable-error-code="valid-type"


@dsl.component(base_image=container_images.LABELING, install_kfp_package=False)
def find_unlabelled(use_case: str) -> NamedTuple("Found", [("batch_uri", str), ("count", int)]):
    """Images in the raw bucket without an approved label, as a batch in the state bucket."""
    from components.labeling import steps

    return steps.find_unlabelled(use_case)


@dsl.component(base_image=container_images.LABELING, install_kfp_package=False)
def label(use_case: str, batch_uri: str, wait_s: int) -> NamedTuple(
    "Labelled", [("labelled", int), ("open_tasks", int)]
):
    """Tasks for the batch in Label Studio; finished boxes become label events."""
    from components.labeling import steps

    return steps.label(use_case, batch_uri, wait_s)


@dsl.component(base_image=container_images.LABELING, install_kfp_package=False)
def verify(use_case: str, wait_s: int) -> NamedTuple(
    "Verified", [("approved", int), ("rejected", int), ("open_tasks", int), ("label_version", int)]
):
    """A second person's look at each label; what is approved becomes part of the next dataset."""
    from components.labeling import steps

    return steps.verify(use_case, wait_s)

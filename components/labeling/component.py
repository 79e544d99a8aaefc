"""The components of the pipeline `labeling`. use_case: its JSON text."""

from typing import NamedTuple

from kfp import dsl

from components import container_images

# kfp reads these signatures from the source, so that the outputs are spelled out in place.
# mypy: disable-error-code="valid-type"


@dsl.component(base_image=container_images.LABELING, install_kfp_package=False)
def find_unlabelled(use_case: str) -> NamedTuple("FoundBatch", [("batch_uri", str), ("count", int)]):
    """Find the images in the raw bucket without an approved label, as a batch in the state bucket."""
    from components.labeling import steps
    from components.settings import settings
    from components.use_case import parse_use_case

    return steps.find_unlabelled(settings(), parse_use_case(use_case))


@dsl.component(base_image=container_images.LABELING, install_kfp_package=False)
def label(use_case: str, batch_uri: str) -> NamedTuple("Labelled", [("labelled", int), ("open_tasks", int)]):
    """Make the batch's tasks in Label Studio; finished boxes become label events."""
    from components.labeling import steps
    from components.settings import settings
    from components.use_case import parse_use_case

    return steps.label(settings(), parse_use_case(use_case), batch_uri)


@dsl.component(base_image=container_images.LABELING, install_kfp_package=False)
def verify(use_case: str, wait_s: int, labelled: int = 0) -> NamedTuple(
    "Verified",
    [
        ("labelled", int),
        ("open_labeling", int),
        ("approved", int),
        ("rejected", int),
        ("open_tasks", int),
        ("label_version", int),
    ],
):
    """Have a second person check each label, and wait for people. Approved labels become part of the next dataset.

    wait_s: how long to wait for people, seconds. labelled: images that `label` found labelled; the output adds those
    that were labelled since.
    """
    from components.labeling import steps
    from components.settings import settings
    from components.use_case import parse_use_case

    done = steps.verify(settings(), parse_use_case(use_case), wait_s)
    return done._replace(labelled=done.labelled + labelled)

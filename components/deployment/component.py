# mypy: disable-error-code="valid-type"
"""The kfp components of the pipeline `deployment`. use_case: its JSON text."""

from typing import NamedTuple

from kfp import dsl

from components import container_images


@dsl.component(base_image=container_images.CONTROL, install_kfp_package=False)
def resolve_approved(use_case: str, version: int) -> int:
    """Return the approved version to deploy. version: 0 means the newest approved version."""
    from components.deployment.publish import resolve
    from components.settings import settings
    from components.stores.models.registry import ModelRegistry
    from components.use_case import parse_use_case

    return resolve(ModelRegistry.from_settings(settings()), parse_use_case(use_case).name, int(version))


@dsl.component(base_image=container_images.CONTROL, install_kfp_package=False)
def publish_release(use_case: str, version: int, again: bool = False, downgrade: bool = False) -> NamedTuple(
    "Outputs", [("release_digest", str), ("sequence", int)]
):
    """Ask the signer to publish the release and the desired state of its group.

    again: order it anew. downgrade: it may be older than the desired one.
    """
    from components.deployment.publish import publish
    from components.settings import settings
    from components.stores.releases.signer_client import SignerClient
    from components.use_case import parse_use_case

    signer = SignerClient.from_settings(settings())
    name = parse_use_case(use_case).name
    digest, sequence = publish(signer, name, int(version), again=bool(again), downgrade=bool(downgrade))
    return (digest, sequence)

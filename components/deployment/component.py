# mypy: disable-error-code="valid-type"
"""The kfp side of deployment."""

from typing import NamedTuple

from kfp import dsl

from components import container_images


@dsl.component(base_image=container_images.CONTROL, install_kfp_package=False)
def resolve_approved(use_case: str, version: int) -> int:
    """The approved version to deploy (0: the newest approved one)."""
    from components.deployment.publish import resolve

    return resolve(use_case, int(version))


@dsl.component(base_image=container_images.CONTROL, install_kfp_package=False)
def publish_release(use_case: str, version: int) -> NamedTuple("Outputs", release_digest=str, sequence=int):
    """Have the signer publish the release and the desired state."""
    from components.deployment.publish import publish

    digest, sequence = publish(use_case, int(version))
    return (digest, sequence)

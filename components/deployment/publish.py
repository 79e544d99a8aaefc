"""The two steps of the deployment pipeline: find the approved version, and ask the signer to publish it."""

from __future__ import annotations

import logging

from components.stores.models.approval import ApprovalError, require_approval
from components.stores.models.registry import ModelRegistry
from components.stores.releases.signer_client import SignerClient

_log = logging.getLogger(__name__)


def resolve(registry: ModelRegistry, model: str, version: int) -> int:
    """Return the version to deploy: the requested version, or the newest approved version if `version` is 0.

    Raises:
        ApprovalError: the version is not approved, or no version is approved.
    """
    if version <= 0:
        approved = [v.version for v in registry.versions(model) if v.approval == "approved"]
        if not approved:
            raise ApprovalError(
                f"no version of {model} is approved; set the tag approval of one to approved in MLflow, "
                "or run: kizu approve VERSION"
            )
        version = approved[0]
    require_approval(registry, model, version)
    return version


def publish(
    signer: SignerClient, model: str, version: int, *, again: bool = False, downgrade: bool = False
) -> tuple[str, int]:
    """Ask the signer to publish the release, then the desired state of its group.

    Args:
        again: devices that refused the release try it once more.
        downgrade: the version may be older than the one that is desired now.

    Returns:
        The digest of the release, and the sequence of the desired state.

    Raises:
        SignerError: the signer refused, or did not answer.
    """
    digest = signer.publish_release(model, version)
    sequence = signer.publish_desired(model, version, again=again, downgrade=downgrade)
    _log.info("release %s of %s version %d is desired, sequence %d", digest, model, version, sequence)
    return digest, sequence

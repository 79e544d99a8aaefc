"""The steps of the deployment pipeline: find the approved version, ask the signer."""

from __future__ import annotations

import logging

from components.settings import settings
from components.stores.models.approval import ApprovalError, require_approval
from components.stores.models.registry import ModelRegistry
from components.stores.releases.signer_client import SignerClient
from components.use_case import parse_use_case

_log = logging.getLogger(__name__)


def resolve(use_case_json: str, version: int) -> int:
    """The version to deploy: the one asked for, or the newest approved one where 0 is asked.

    Raises:
        ApprovalError: it is not approved, or nothing is.
    """
    use_case = parse_use_case(use_case_json)
    registry = ModelRegistry.from_settings(settings())
    if version <= 0:
        approved = [v.version for v in registry.versions(use_case.name) if v.approval == "approved"]
        if not approved:
            raise ApprovalError(
                f"no version of {use_case.name} is approved; set the tag approval of one to approved in MLflow, "
                "or run: kizu approve VERSION"
            )
        version = approved[0]
    require_approval(registry, use_case.name, version)
    return version


def publish(use_case_json: str, version: int) -> tuple[str, int]:
    """Ask the signer for the release, then for the desired state; returns (release digest, sequence)."""
    model = parse_use_case(use_case_json).name
    signer = SignerClient(settings().required("signer_url"))
    digest = signer.publish_release(model, version)
    sequence = signer.publish_desired(model, version)
    _log.info("release %s of %s version %d is desired, sequence %d", digest, model, version, sequence)
    return digest, sequence

"""Approval: how a person sets it, and how programs read it.

Only MLflow's server (`components/approval_server`) writes the stamps `approval_by`, `approval_at` and
`approval_model_sha256`, after its checks.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from components.stores.models.approval_evidence import EvidenceError, check_gate_tag, check_model
from components.stores.models.registry import MODEL_FILE, ModelRegistry, ModelVersion
from inspection.documents import Approval


class ApprovalError(ValueError):
    """A version is not approved, or is approved for other bytes."""


def decide_approval(
    registry: ModelRegistry,
    model: str,
    version: int,
    decision: Literal["approved", "rejected"],
    *,
    reason: str = "",
) -> ModelVersion:
    """Set the tag `approval` with the account of this process, as MLflow's page does; the server checks and stamps.

    Raises:
        ModelRegistryError: the server refused; the message is the server's.
        NoSuchModel: no such version.
    """
    found = registry.version(model, version)
    registry.set_tag(found, "approval", decision)
    if reason:
        registry.set_tag(found, "approval_reason", reason)
    return registry.version(model, version)


def require_approval(registry: ModelRegistry, model: str, version: int) -> tuple[ModelVersion, Approval]:
    """A version and its approval, as the server stamped it, after a check of the bytes that are stored now.

    Raises:
        ApprovalError: the version is not approved, not stamped, or approved for other bytes.
    """
    found = registry.version(model, version)
    where = f"{model} version {version}"
    if found.approval != "approved":
        raise ApprovalError(
            f"{where} is {found.approval or 'without an approval tag'}, expected approved; "
            f"set its tag approval to approved in MLflow, or run: kizu approve {version} --model {model}"
        )
    try:
        check_gate_tag(where, found.tags)
        model_sha256 = check_model(where, found.tags, registry.get_artifact(found.run_id, MODEL_FILE))
    except EvidenceError as e:
        raise ApprovalError(str(e)) from e
    by, approved = found.tags.get("approval_by", ""), found.tags.get("approval_model_sha256", "")
    if by in ("", "unauthenticated") or by == found.tags.get("registered_by"):
        raise ApprovalError(
            f"{where} is approved by {by or 'nobody'}, expected an account that MLflow's server stamped and that did "
            f"not register it; approve it again with: kizu approve {version} --model {model}"
        )
    if approved != model_sha256:
        raise ApprovalError(
            f"{where} was approved for model {approved or '(none recorded)'}, but holds {model_sha256}; "
            "approve it again"
        )
    try:
        at = datetime.fromisoformat(found.tags.get("approval_at", ""))
        if at.tzinfo is None:
            raise ValueError("a time without a zone")
    except ValueError as e:
        raise ApprovalError(
            f"{where} has the tag approval_at {found.tags.get('approval_at')!r}, "
            "expected a time with a zone; approve it again with: kizu approve"
        ) from e
    return found, Approval(by=by, at=at, model_sha256=approved)

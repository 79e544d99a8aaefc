"""Approval: a person's act, which MLflow's server stamps with account, time and bytes.

`components/approval_server` is the only writer of the stamps `approval_by`, `approval_at` and `approval_model_sha256`,
and checks before it writes. Here is the other side: how a person asks for it, and how others read it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from components.stores.models.approval_evidence import EvidenceError, check_gate_tag, check_model
from components.stores.models.registry import MODEL_FILE, ModelRegistry, ModelVersion
from inspection.documents import Approval


class ApprovalError(ValueError):
    """A version that is not approved, or not for these bytes."""


def decide_approval(
    registry: ModelRegistry,
    model: str,
    version: int,
    decision: Literal["approved", "rejected"],
    *,
    reason: str = "",
) -> ModelVersion:
    """Set `approval` as the account of this process, the same as in MLflow's page; the server checks and stamps.

    Raises:
        ModelRegistryError: the server refused; its words are the message.
        NoSuchModel: no such version.
    """
    found = registry.version(model, version)
    registry.set_tag(found, "approval", decision)
    if reason:
        registry.set_tag(found, "approval_reason", reason)
    return registry.version(model, version)


def require_approval(registry: ModelRegistry, model: str, version: int) -> tuple[ModelVersion, Approval]:
    """The approval of a version: what the server stamped, for the bytes that are there now.

    Raises:
        ApprovalError: not approved, not stamped, or approved for other bytes.
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

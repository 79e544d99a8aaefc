"""Approval: a person's act, recorded as tags of a model version.

Tags alone don't say who. Until MLflow itself stamps the account, `approval_by` reads `unauthenticated`: never a name
that nobody checked.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Literal

from components.model_registry import MODEL_FILE, ModelRegistry, ModelVersion
from inspection.documents import Approval
from inspection.image import sha256_of

UNAUTHENTICATED: Final = "unauthenticated"
Clock = Callable[[], datetime]


class ApprovalError(ValueError):
    """A version that may not be approved, or is not."""


def _now() -> datetime:
    return datetime.now(UTC)


def decide_approval(
    registry: ModelRegistry,
    model: str,
    version: int,
    decision: Literal["approved", "rejected"],
    *,
    reason: str = "",
    now: Clock = _now,
) -> ModelVersion:
    """Set `approval` and its stamps. An approval is refused where gate or bytes do not hold.

    Raises:
        ApprovalError: the gate tag is not `passed`, or the model's bytes changed since registration.
        NoSuchModel: no such version.
    """
    found = registry.version(model, version)
    if decision == "approved":
        _check(registry, found)
        _stamp(registry, found, now)
    if reason:
        registry.set_tag(found, "approval_reason", reason)
    registry.set_tag(found, "approval", decision)
    return registry.version(model, version)


def require_approval(
    registry: ModelRegistry, model: str, version: int, *, now: Clock = _now, stamp: bool = True
) -> tuple[ModelVersion, Approval]:
    """The approval of a version that a person approved, in MLflow's UI or with `kizu approve`.

    An approval from the UI is one tag; with `stamp`, its time, bytes and `unauthenticated` are recorded now.

    Raises:
        ApprovalError: not approved, or approved for other bytes.
    """
    found = registry.version(model, version)
    if found.approval != "approved":
        raise ApprovalError(
            f"{model} version {version} is {found.approval or 'without an approval tag'}, expected approved; "
            f"set its tag approval to approved in MLflow, or run: kizu approve {version} --model {model}"
        )
    _check(registry, found)
    if stamp and "approval_model_sha256" not in found.tags:
        _stamp(registry, found, now)
        found = registry.version(model, version)
    approved_bytes = found.tags.get("approval_model_sha256", "")
    if approved_bytes != found.tags["model_sha256"]:
        raise ApprovalError(
            f"{model} version {version} was approved for model {approved_bytes or '(none recorded)'}, "
            f"but holds {found.tags['model_sha256']}; approve it again"
        )
    try:
        at = datetime.fromisoformat(found.tags.get("approval_at", ""))
        if at.tzinfo is None:
            raise ValueError("a time without a zone")
    except ValueError as e:
        raise ApprovalError(
            f"{model} version {version} has the tag approval_at {found.tags.get('approval_at')!r}, "
            "expected a time with a zone; approve it again with: kizu approve"
        ) from e
    # The tag approval_by is anybody's to write: it says nothing yet.
    return found, Approval(by=UNAUTHENTICATED, at=at, model_sha256=approved_bytes)


def _check(registry: ModelRegistry, found: ModelVersion) -> None:
    where = f"{found.name} version {found.version}"
    gate = found.tags.get("gate", "")
    if gate != "passed":
        raise ApprovalError(f"{where} cannot be approved: expected its gate tag to be 'passed', but it is {gate!r}")
    expected = found.tags.get("model_sha256", "")
    actual = sha256_of(registry.get_artifact(found.run_id, MODEL_FILE))
    if actual != expected:
        raise ApprovalError(
            f"{where} cannot be approved: it was registered with model {expected or '(none)'}, "
            f"but its bytes are now {actual}; train and register it again"
        )


def _stamp(registry: ModelRegistry, found: ModelVersion, now: Clock) -> None:
    registry.set_tag(found, "approval_by", UNAUTHENTICATED)
    registry.set_tag(found, "approval_at", now().astimezone(UTC).isoformat(timespec="seconds"))
    registry.set_tag(found, "approval_model_sha256", found.tags["model_sha256"])

"""Rules for who may set which tag of a model version. The functions are pure: they take values and return values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from components.approval_server.accounts import Role

APPROVAL: Final = "approval"
BY: Final = "approval_by"
AT: Final = "approval_at"
MODEL_SHA256: Final = "approval_model_sha256"
REASON: Final = "approval_reason"
REGISTERED_BY: Final = "registered_by"

STAMPS: Final = (BY, AT, MODEL_SHA256)
SERVERS_OWN: Final = frozenset({*STAMPS, REGISTERED_BY})
EVIDENCE: Final = frozenset(
    {
        "gate",
        "model_sha256",
        "model_int8_sha256",
        "evaluation_digest",
        "use_case_digest",
        "dataset_digest",
        "code_digest",
        "label_version",
    }
)
"""The tags that an approval rests on. Only the registering account writes them; nobody does once the version is
approved.
"""
ROLLOUT: Final = frozenset({"rollout", "rollout_reason"})
"""How the rollout of a version ended. Only the reconciler, which sees the devices, writes it."""
PROTECTED: Final = SERVERS_OWN | EVIDENCE | ROLLOUT | {APPROVAL, REASON}
CHAMPION: Final = "champion"


class Refused(Exception):
    """This account may not make the change. The message is written for the caller who tried it."""


class Malformed(Refused):
    """The change is malformed: no account could make it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The account that makes a request.

    role: its role in the administrator's file; None for an account that was made in MLflow. is_admin: whether MLflow
    holds it as an administrator.
    """

    name: str
    role: Role | None = None
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """A model version in its current state. approvers: the approvers of its model, from the administrator's file."""

    model: str
    number: str
    tags: Mapping[str, str]
    approvers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.model} version {self.number}"


@dataclass(frozen=True, slots=True)
class Change:
    """Tags to set and tags to delete, as one change.

    rests_on_evidence: the change may be made only if the artifacts pass the evidence check. It then holds for the model
    bytes that were checked.
    """

    set: Mapping[str, str] = field(default_factory=dict)
    delete: tuple[str, ...] = ()
    rests_on_evidence: bool = False


def on_create(caller: Caller, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a new version: the requested tags, and the account that registers it.

    Raises:
        Malformed: a tag resembles a protected tag, but is spelled differently.
        Refused: the version would start as approved or rejected, with a stamp of the server, or with a reason; or the
            account is of a program that registers nothing.
    """
    if caller.role in (Role.READER, Role.RECONCILER):
        # MLflow lets every account make a model, and gives it all rights on what it made.
        raise Refused(
            f"{caller.name} is an account of the role {caller.role}, which registers no version: a trainer does"
        )
    for key in tags:
        _check_spelling(key)
    stamped = sorted(set(tags) & (SERVERS_OWN | ROLLOUT | {REASON}))
    if stamped:
        raise Refused(
            f"a new version cannot bring {', '.join(stamped)}: the server alone writes these. "
            "An approval cannot be copied from another version either"
        )
    if tags.get(APPROVAL, "pending") != "pending":
        raise Refused(f"a new version is registered with approval=pending, but got {tags[APPROVAL]!r}")
    return {**tags, REGISTERED_BY: caller.name}


def on_set(caller: Caller, version: Version, key: str, value: str, now: datetime) -> Change:
    """Return the change that results from setting one tag. now: the time of a decision; it has a time zone.

    Raises:
        Malformed: the tag resembles a protected tag, or the value of the approval is unknown.
        Refused: this account may not set the tag. The message says why and who may.
    """
    _check_spelling(key)
    if key in SERVERS_OWN:
        raise Refused(f"{key} is written by the server alone, when a person approves or rejects")
    if key == APPROVAL:
        return _decide(caller, version, value, now)
    if key == REASON:
        _check_may_decide(caller, version, "give the reason")
        if version.tags.get(APPROVAL) not in ("approved", "rejected"):
            raise Refused(f"{version} is neither approved nor rejected yet: decide first, then give the reason")
        if version.tags.get(BY) != caller.name:
            raise Refused(f"the decision on {version} is {version.tags.get(BY) or 'nobody'}'s, and so is its reason")
    if key in ROLLOUT and caller.role is not Role.RECONCILER:
        raise Refused(f"{key} says how the rollout of {version} ended: the reconciler writes it, not {caller.name}")
    if key in EVIDENCE and version.tags.get(key) != value:
        if caller.name != version.tags.get(REGISTERED_BY):
            raise Refused(
                f"{key} says what was registered: only the account that registered {version} writes it "
                f"({version.tags.get(REGISTERED_BY) or 'not known'})"
            )
        if version.tags.get(APPROVAL) == "approved":
            raise Refused(f"{version} is approved, and {key} is what that rests on; set approval to pending first")
    return Change({key: value})


def on_delete(version: Version, key: str) -> Change:
    """Return the change that results from deleting one tag.

    Raises:
        Malformed: the tag resembles a protected tag, but is spelled differently.
        Refused: the tag belongs to the approval.
    """
    _check_spelling(key)
    if key in PROTECTED:
        raise Refused(
            f"{key} of {version} belongs to its approval and is not deleted; "
            "to take an approval back set the tag approval to rejected or pending"
        )
    return Change(delete=(key,))


def on_alias(caller: Caller, alias: str) -> None:
    """Check that this account may move or delete an alias.

    Raises:
        Refused: the alias is `champion` and the account is not the reconciler. `champion` names the version that all
            devices run, and only the reconciler sees what they run.
    """
    if alias.strip().casefold() == CHAMPION and caller.role is not Role.RECONCILER:
        raise Refused(
            "the alias champion says which version all devices of a group run; "
            f"the reconciler moves it, not {caller.name}"
        )


def on_remove(caller: Caller, what: str) -> None:
    """Check that this account may delete a version, or a model with all of its versions.

    Raises:
        Refused: the account is not an administrator.
    """
    if not caller.is_admin:
        raise Refused(f"{what} is what devices were released from: only an administrator deletes it, not {caller.name}")


def _decide(caller: Caller, version: Version, value: str, now: datetime) -> Change:
    at = now.astimezone(UTC).isoformat(timespec="seconds")
    if value == "pending":
        if caller.name != version.tags.get(REGISTERED_BY) and caller.name not in version.approvers:
            raise Refused(f"only an approver of {version.model}, or who registered {version}, takes a decision back")
        return Change({APPROVAL: value}, (*STAMPS, REASON))
    if value == "rejected":
        _check_may_decide(caller, version, "reject")
        return Change({APPROVAL: value, BY: caller.name, AT: at}, (MODEL_SHA256, REASON))
    if value == "approved":
        _check_may_decide(caller, version, "approve")
        return Change({APPROVAL: value, BY: caller.name, AT: at}, (REASON,), rests_on_evidence=True)
    raise Malformed(f"expected approval to be approved, rejected or pending, but got {value!r}")


def _check_may_decide(caller: Caller, version: Version, act: str) -> None:
    if not version.approvers:
        raise Refused(
            f"nobody may {act} {version}: this server knows no approvers of {version.model}. Name them in the use "
            "case file (approvers:), and have the administrator bring that list to the server"
        )
    if caller.name not in version.approvers:
        raise Refused(
            f"{caller.name} may not {act} {version}: the approvers of {version.model} are "
            f"{', '.join(version.approvers)}"
        )
    registered_by = version.tags.get(REGISTERED_BY)
    if not registered_by:
        raise Refused(f"nobody may {act} {version}: it does not say who registered it; register it again")
    if caller.name == registered_by:
        raise Refused(f"{caller.name} registered {version}: another account has to {act} it")
    if caller.role not in (None, Role.APPROVER):
        raise Refused(
            f"{caller.name} is an account of the role {caller.role}: a person's account has to {act} {version}"
        )


def _check_spelling(key: str) -> None:
    # Some databases ignore case or trailing blanks when they compare. There, such a key would overwrite the tag that
    # it resembles.
    plain = key.strip().casefold()
    if key != plain and plain in PROTECTED:
        raise Malformed(f"expected the tag {plain}, but got {key!r}")

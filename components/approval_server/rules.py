"""Who may set which tag of a model version: values in, values out."""

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
"""What an approval rests on: the registering account's to write, and nobody's once the version is approved."""
PROTECTED: Final = SERVERS_OWN | EVIDENCE | {APPROVAL, REASON}
CHAMPION: Final = "champion"


class Refused(Exception):
    """A change that this account may not make; the message is for whoever tried."""


class Malformed(Refused):
    """A change that nobody could make."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. role: by the administrator's file; None: an account made in MLflow. is_admin: in MLflow."""

    name: str
    role: Role | None = None
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """A version as it is now. approvers: of its model, by the administrator's file."""

    model: str
    number: str
    tags: Mapping[str, str]
    approvers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.model} version {self.number}"


@dataclass(frozen=True, slots=True)
class Change:
    """Tags to set and to delete, together. rests_on_evidence: only where the artifacts hold, for these bytes."""

    set: Mapping[str, str] = field(default_factory=dict)
    delete: tuple[str, ...] = ()
    rests_on_evidence: bool = False


def on_create(caller: Caller, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a new version: those asked for, and who registered it.

    Raises:
        Refused: it would be born approved, or with a stamp.
    """
    for key in tags:
        _check_spelling(key)
    stamped = sorted(set(tags) & (SERVERS_OWN | {REASON}))
    if stamped:
        raise Refused(
            f"a new version cannot bring {', '.join(stamped)}: the server alone writes these. "
            "An approval cannot be copied from another version either"
        )
    if tags.get(APPROVAL, "pending") != "pending":
        raise Refused(f"a new version is registered with approval=pending, but got {tags[APPROVAL]!r}")
    return {**tags, REGISTERED_BY: caller.name}


def on_set(caller: Caller, version: Version, key: str, value: str, now: datetime) -> Change:
    """What setting one tag comes to.

    Raises:
        Refused: this account may not; the message says why and who may.
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
    """What deleting one tag comes to.

    Raises:
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
    """Who may move or delete an alias.

    Raises:
        Refused: `champion` says what all devices run; only the reconciler sees that.
    """
    if alias.strip().casefold() == CHAMPION and caller.role is not Role.RECONCILER:
        raise Refused(
            "the alias champion says which version all devices of a group run; "
            f"the reconciler moves it, not {caller.name}"
        )


def on_remove(caller: Caller, what: str) -> None:
    """Who may delete a version, or a model with all of its versions.

    Raises:
        Refused: not an administrator.
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
    # Some databases compare without case or trailing blanks: such a key would fall on the tag that it resembles.
    plain = key.strip().casefold()
    if key != plain and plain in PROTECTED:
        raise Malformed(f"expected the tag {plain}, but got {key!r}")

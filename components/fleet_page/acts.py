"""What a person may do to a rollout from the fleet page. The audit log has each act before it is made."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final, Protocol

from components.fleet_page.accounts import Person
from components.fleet_page.audit import AuditEntry, AuditLog, Outcome
from components.stores.objects.s3 import ObjectStoreError
from components.stores.releases.signer_client import SignerError

_log = logging.getLogger(__name__)
ACTS: Final = ("pause", "resume", "stop")
MAX_REASON: Final = 500


class NotAllowed(Exception):
    """The account may not do this, or the request is not complete. The message is a key of the texts."""


class NotDone(Exception):
    """The act was not made, or nobody knows whether it was. The message is for the person."""


class Rollouts(Protocol):
    """What the signer does for the page."""

    def rollout(self, use_case: str, group: str, sequence: int, step: str, *, by: str, reason: str) -> int:
        """Pause, resume or stop the rollout that the person saw; returns the new sequence."""


class Acts:
    """Pauses, resumes and stops rollouts."""

    def __init__(self, rollouts: Rollouts, audit: AuditLog) -> None:
        self._rollouts = rollouts
        self._audit = audit

    def perform(
        self, person: Person, client: str, act: str, use_case: str, group: str, sequence: int, reason: str
    ) -> int:
        """Make an act, with an entry in the audit log before it and one after it. Returns the new sequence.

        Raises:
            NotAllowed: the account has no right for the product, the act is unknown, or the reason is missing.
            NotDone: the log could not be written, so that nothing was done; or the signer refused or did not answer.
        """
        if not person.may_act_on(use_case):
            raise NotAllowed("may_not")
        if act not in ACTS:
            raise NotAllowed("unknown_act")
        if not reason.strip():
            raise NotAllowed("reason_missing")
        asked = AuditEntry(
            entry_id=self._audit.new_id(), at=self._audit.now(), by=person.name, client=client, act=act,
            outcome=Outcome.ASKED, use_case=use_case, group=group, sequence=sequence,
            reason=reason.strip()[:MAX_REASON],
        )  # fmt: skip
        try:
            self._audit.append(asked)
        except (ObjectStoreError, FileExistsError) as e:
            raise NotDone(f"nothing was done, because the audit log cannot be written: {e}") from e
        try:
            new = self._rollouts.rollout(use_case, group, sequence, act, by=person.name, reason=asked.reason)
        except SignerError as e:
            self._tell(asked, Outcome.REFUSED, str(e))
            raise NotDone(str(e)) from e
        self._tell(asked, Outcome.DONE, f"sequence {new}")
        return new

    def signed_in(self, person: Person, client: str) -> None:
        """Write that a person signed in. A store that is away keeps nobody from reading the pages."""
        entry = AuditEntry(
            entry_id=self._audit.new_id(), at=self._audit.now(), by=person.name, client=client, act="sign-in",
            outcome=Outcome.DONE,
        )  # fmt: skip
        try:
            self._audit.append(entry)
        except (ObjectStoreError, FileExistsError) as e:
            _log.warning("the audit log has no entry of the sign-in of %s: %s", person.name, e)

    def _tell(self, asked: AuditEntry, outcome: Outcome, said: str) -> None:
        try:
            self._audit.append(replace(asked, at=self._audit.now(), outcome=outcome, said=said))
        except (ObjectStoreError, FileExistsError) as e:
            raise NotDone(f"{said}; but the audit log cannot say so: {e}") from e

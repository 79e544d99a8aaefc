"""Why something was done: one document for each act, `decisions/<use case>/<yyyy>/<mm>/<dd>/<time>-<act>-<name>.json`.

A decision is written after its act is known to have happened, once. The object `decided/<use case>/<name>.json`, whose
name is made from act and subject, is written first and under a condition. It holds the decision, and so the time that
the key of the decision is made of. A pass that finds an act done without its decision writes it then. A pass that
decides nothing writes nothing.

Where only the act itself would tell that it was done, it is announced before: `announced/<use case>/<act>.json` holds
its decision. A pass that finds an announcement sees by what is there now whether the act was done.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore
from inspection.codec import Document, DocumentError
from inspection.paths import check_name

_log = logging.getLogger(__name__)
_ANNOUNCED: Final = "announced/"
_DECIDED: Final = "decided/"
_DECISIONS: Final = "decisions/"
_NAME_LENGTH: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Document):
    """What the reconciler did, for what, and why.

    act: `start-deployment`, `start-training`, `start-labeling`, `notice`, `advance`, `pause`, `stop` or
    `move-champion`. subject: what it was done to: a version, a run, a claim, a digest. With the act it names the
    decision, so it differs for each new act.
    """

    use_case: str
    act: str
    subject: str
    why: str
    at: datetime
    group: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("use case", self.use_case)
        if not self.act or not self.subject:
            raise ValueError(f"expected an act and a subject, but got {self.act!r} and {self.subject!r}")

    @property
    def name(self) -> str:
        """Twenty characters that are the same for the same group, act and subject."""
        return decision_name(self.act, self.subject, self.group)

    @property
    def key(self) -> str:
        """Where it is kept."""
        return f"{_DECISIONS}{self.use_case}/{self.at:%Y/%m/%d/%H%M%S}-{self.act}-{self.name}.json"


def decision_name(act: str, subject: str, group: str = "") -> str:
    """The name of the decision about an act and its subject."""
    return hashlib.sha256("\x1f".join((act, subject, group)).encode()).hexdigest()[:_NAME_LENGTH]


def _place(use_case: str, act: str) -> str:
    return f"{_ANNOUNCED}{use_case}/{act}.json"


class DecisionLog:
    """The decisions of one installation. bucket: the state bucket.

    It remembers which decisions are written and which acts are announced, so that a pass asks the store about each only
    once. Call `forget` where another process may have written since.
    """

    def __init__(self, store: S3ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket
        self._known: dict[str, set[str]] = {}
        self._announced: dict[tuple[str, str], Decision | None] = {}
        self.written: list[Decision] = []
        """The decisions that this process wrote, for whoever counts them; the owner empties it."""

    def forget(self) -> None:
        """Read again at the next question what is written and announced."""
        self._known.clear()
        self._announced.clear()

    def announce(self, decision: Decision) -> None:
        """Keep a decision whose act is about to be done, in the place of the former announcement of such an act.

        Raises:
            ObjectStoreError: the store did not answer; the act must not be done.
        """
        what = decision.use_case, decision.act
        self._announced.pop(what, None)
        self._store.put(self._bucket, _place(*what), decision.to_json(), content_type="application/json")
        self._announced[what] = decision

    def announced(self, use_case: str, act: str) -> Decision | None:
        """The decision whose act was about to be done; None where none was, or where it cannot be read.

        Raises:
            ObjectStoreError: the store did not answer.
        """
        if (use_case, act) not in self._announced:
            found = None
            try:
                found = Decision.from_json(self._store.get(self._bucket, _place(use_case, act)))
            except ObjectNotFound:
                pass
            except DocumentError as e:
                _log.warning("the announcement %s is not readable and counts as none: %s", _place(use_case, act), e)
            self._announced[use_case, act] = found
        return self._announced[use_case, act]

    def withdraw(self, use_case: str, act: str) -> None:
        """Remove an announcement: its decision is written, or its act was not done.

        Raises:
            ObjectStoreError: the store did not answer; call it again.
        """
        self._store.delete(self._bucket, _place(use_case, act))
        self._announced[use_case, act] = None

    def is_written(self, use_case: str, act: str, subject: str, group: str = "") -> bool:
        """Whether the act is known to have been done.

        Raises:
            ObjectStoreError: the store did not answer.
        """
        return decision_name(act, subject, group) in self._names(use_case)

    def was_written_meanwhile(self, use_case: str, act: str, subject: str, group: str = "") -> bool:
        """As `is_written`, but the store is asked now. Ask before an act that cannot be taken back."""
        name = decision_name(act, subject, group)
        try:
            kept = self._store.get(self._bucket, f"{_DECIDED}{use_case}/{name}.json")
        except ObjectNotFound:
            return False
        self._finish(use_case, name, kept)
        return True

    def write(self, decision: Decision) -> bool:
        """Write the decision, unless it is written. Returns whether this call did.

        Raises:
            ObjectStoreError: the store did not answer; call it again, in a later pass too.
        """
        if decision.name in self._names(decision.use_case):
            return False
        place = f"{_DECIDED}{decision.use_case}/{decision.name}.json"
        data = decision.to_json()
        self._store.put(self._bucket, place, data, if_absent=True, content_type="application/json")
        kept = self._store.get(self._bucket, place)
        self._finish(decision.use_case, decision.name, kept)
        if kept != data:
            return False
        self.written.append(decision)
        _log.info("%s of %s: %s (%s)", decision.act, decision.use_case, decision.subject, decision.why)
        return True

    def _finish(self, use_case: str, name: str, kept: bytes) -> None:
        # The time in the key is that of the first writer, so that whoever finishes its work writes the same object.
        first = Decision.from_json(kept)
        self._store.put(self._bucket, first.key, kept, if_absent=True, content_type="application/json")
        self._names(use_case).add(name)

    def _names(self, use_case: str) -> set[str]:
        if use_case not in self._known:
            prefix = f"{_DECISIONS}{use_case}/"
            self._known[use_case] = {
                info.key.removesuffix(".json")[-_NAME_LENGTH:] for info in self._store.list(self._bucket, prefix)
            }
        return self._known[use_case]

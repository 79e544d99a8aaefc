"""One pass: see, decide, act, and write why. A pass may be made again at any time, and by two processes at once.

For each product the rules say which runs should be there. A run is started under its claim, so once. A notice is noted
as sent after it was taken, so it is sent at least once, and again only after a crash between the two. What goes wrong
with one act is told and counted, and costs no other act.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from components.stores.objects.claims import ClaimLost, Claims, ClaimState, Refused
from components.stores.objects.s3 import ObjectStoreError
from inspection.documents import DesiredState
from reconciler.decisions import Decision, DecisionLog
from reconciler.follow_up import gave_up, quiet_until, what_follows
from reconciler.notices import message_of
from reconciler.notifier import NoticeError, Notifier
from reconciler.products import Product, Products
from reconciler.rollout_notes import note_of, software_note_of
from reconciler.seeing import Sources, see
from reconciler.starts import Started, Starter, StartError, start_under_claim
from reconciler.view import Act, Following, Notice, ProductView, Want

_log = logging.getLogger(__name__)

HOLDER: Final = "reconciler-"
"""The names of the reconcilers that hold claims begin with it."""


@dataclass(frozen=True, slots=True)
class ProductReport:
    """What a pass saw of a product, did, and waits for, in words. failures: acts that went wrong; they come again.

    again_at: when the first of the waits ends whose end is known; None for none.
    """

    name: str
    sees: tuple[str, ...]
    does: tuple[str, ...]
    waits: tuple[str, ...]
    failures: tuple[str, ...]
    again_at: datetime | None = None


@dataclass(slots=True)
class _Said:
    does: list[str]
    waits: list[str]
    failures: list[str]
    again_at: datetime | None = None


class Loop:
    """The acts of the reconciler for the products that it serves.

    Args:
        starter: None where nothing is set that could start a run.
        notifier: None where no way to reach people is set.
        mlflow_url: MLflow as a browser reaches it, for links.
        holder: a name that no other process has.
        still_acting: called before each act; raises where another replica took over.
    """

    def __init__(
        self,
        products: Products,
        sources: Sources,
        claims: Claims,
        starter: Starter | None,
        decisions: DecisionLog,
        notifier: Notifier | None,
        *,
        mlflow_url: str,
        holder: str,
        clock: Callable[[], datetime],
        still_acting: Callable[[], None] = lambda: None,
    ) -> None:
        self._products = products
        self._sources = sources
        self._claims = claims
        self._starter = starter
        self._decisions = decisions
        self._notifier = notifier
        self._mlflow_url = mlflow_url
        self._holder = f"{HOLDER}{holder}"
        self._clock = clock
        self._still_acting = still_acting
        self._done: set[str] = set()

    def run(self, *, act: bool = True) -> list[ProductReport]:
        """One pass over all products. act: False changes nothing, and says what a pass would do."""
        served = self._products.read()
        reports = [
            ProductReport(name, (), (), (f"the file is passed over: {why}",), ())
            for name, why in served.damaged.items()
        ]
        return [*reports, *(self._product(product, act=act) for product in served.products)]

    def note_rollouts(self, desired: Iterable[tuple[str, DesiredState]]) -> list[str]:
        """Write what the reconciler did to rollouts, and tell people. Returns what went wrong, in words.

        desired: (group, desired state), as they are published now.
        """
        languages = self.languages()
        said = _Said([], [], [])
        notes = [
            (group, state, note)
            for group, state in desired
            for make in (note_of, software_note_of)
            if (note := make(group, state, languages.get(state.use_case, "en"))) is not None
        ]
        for group, state, note in notes:
            self._still_acting()
            try:
                self._decisions.write(
                    Decision(
                        use_case=state.use_case,
                        group=group,
                        act=str(note.act),
                        subject=note.subject,
                        why=note.why,
                        at=self._clock(),
                        facts={"sequence": state.sequence},
                    )
                )
            except ObjectStoreError as e:
                said.failures.append(f"{state.use_case}, group {group}: {e}")
            if note.notice is not None:
                self._notice(note.notice, said, act=True)
        return said.failures

    def languages(self) -> dict[str, str]:
        """The products that are served -> the language of their notices."""
        return {product.name: product.policy.language for product in self._products.read().products}

    def tell(self, notices: Iterable[Notice], *, act: bool) -> tuple[list[str], list[str]]:
        """Send each notice that was not sent yet. Returns what it did, or would do, and what went wrong, in words."""
        said = _Said([], [], [])
        for notice in notices:
            self._notice(notice, said, act=act)
        return said.does, said.failures

    def _product(self, product: Product, *, act: bool) -> ProductReport:
        view = see(product.policy, self._sources)
        following = what_follows(view, self._clock())
        said = _Said([], list(following.waits), [])
        notices = list(following.notices)
        for want in following.wants:
            try:
                refused = self._want(product, want, said, act=act)
            except (StartError, ObjectStoreError, ClaimLost) as e:
                _log.error("%s: %s under the claim %s: %s", product.name, want.pipeline, want.claim, e)
                said.failures.append(f"{want.pipeline}: {e}")
                continue
            if refused is not None and refused.state is ClaimState.EXHAUSTED:
                notices.append(gave_up(view, want, refused.why))
        for notice in notices:
            self._notice(notice, said, act=act)
        return self._report(view, following, said)

    def _report(self, view: ProductView, following: Following, said: _Said) -> ProductReport:
        return ProductReport(
            view.policy.name, following.sees, tuple(said.does), tuple(said.waits), tuple(said.failures), said.again_at
        )

    def _want(self, product: Product, want: Want, said: _Said, *, act: bool) -> Refused | None:
        """Start a wanted run if its claim is free. Returns why it is not started."""
        if want.claim in self._done:
            said.waits.append(f"{want.pipeline}: done under the claim {want.claim} ({want.why})")
            return None
        if self._starter is None:
            said.waits.append(f"{want.pipeline}: nothing can start it: KIZU_KFP_ENDPOINT is not set ({want.why})")
            return None
        found = self._claims.look(want.claim, want.alone_below, self._starter.runs(want.pipeline), self._clock())
        if found is None and (until := self._quiet_until(want)) is not None:
            waits = f"waits until {until:%H:%M:%S} UTC, {want.quiet_s:g} s after the last run"
            said.waits.append(f"{want.pipeline}: it {waits} ({want.why})")
            said.again_at = until if said.again_at is None else min(said.again_at, until)
            return None
        if found is None and not act:
            said.does.append(f"would start {want.pipeline} under the claim {want.claim}: {want.why}")
            return None
        # A run whose start nobody noted is written into its claim by taking it.
        unnoted = found is not None and not found.claim.run_id and found.state in (ClaimState.RUNNING, ClaimState.DONE)
        if found is None or (act and unnoted):
            self._still_acting()
            started = start_under_claim(
                self._claims, self._starter, want, product.use_case.to_json(), self._holder, self._clock
            )
            if isinstance(started, Started):
                said.does.append(f"started {want.pipeline}, run {started.run_id}: {want.why}")
                self._write(product, want, started.run_id, self._clock())
                return None
            found = started
        said.waits.append(f"{want.pipeline}: {found.why} ({want.why})")
        claim = found.claim
        if act and found.name == want.claim and claim.run_id and claim.holder.startswith(HOLDER):
            # The process that started it may have died before it wrote why.
            self._write(product, want, claim.run_id, claim.claimed_at)
        if found.state is ClaimState.DONE and found.name == want.claim:
            self._done.add(want.claim)
        return found

    def _quiet_until(self, want: Want) -> datetime | None:
        if not want.quiet_below:
            return None
        return quiet_until(self._claims.changed_at(*want.quiet_below), want.quiet_s, self._clock())

    def _write(self, product: Product, want: Want, run_id: str, at: datetime) -> None:
        group = product.policy.group if want.act is Act.START_DEPLOYMENT else ""
        self._decisions.write(
            Decision(
                use_case=product.name,
                group=group,
                act=str(want.act),
                subject=run_id,
                why=want.why,
                at=at,
                facts={"claim": want.claim, **want.arguments},
            )
        )

    def _notice(self, notice: Notice, said: _Said, *, act: bool) -> None:
        subject, name = f"{notice.topic}/{notice.subject}", notice.use_case
        message = message_of(notice, self._mlflow_url)
        try:
            if self._decisions.is_written(name, Act.NOTICE, subject):
                return
            if self._notifier is None:
                said.waits.append(f"notice: nobody is told that {message.title!r}: no way to send it is set")
                return
            if not act:
                said.does.append(f"would send the notice {message.title!r}")
                return
            self._still_acting()
            if self._decisions.was_written_meanwhile(name, Act.NOTICE, subject):
                return
            self._notifier.send(message)
            said.does.append(f"sent the notice {message.title!r}")
            self._decisions.write(
                Decision(use_case=name, act=Act.NOTICE, subject=subject, why=message.title, at=self._clock())
            )
        except (NoticeError, ObjectStoreError) as e:
            _log.error("%s: the notice %r waits for the next pass: %s", name, message.title, e)
            said.failures.append(f"notice: {e}")

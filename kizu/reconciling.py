"""Composes the reconciler: its rules, the servers that the settings name, and what starts runs here or on a cluster."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kizu.context import is_on_this_machine, layout, of_this_machine

if TYPE_CHECKING:
    from components.settings import Settings
    from components.stores.releases.signer_client import SignerClient
    from kizu.drift_watch import DriftWatch
    from reconciler.adapters import MlflowRollouts, NotedChampions
    from reconciler.decisions import Decision, DecisionLog
    from reconciler.one_pass import Loop, ProductReport
    from reconciler.products import Products
    from reconciler.published import PublishedInAPass, ReadingOfAPass
    from reconciler.rollout_pass import Judged
    from reconciler.rules import GroupState
    from reconciler.starts import Starter


@dataclass(frozen=True, slots=True)
class PassResult:
    """What one pass saw and did."""

    groups: list[GroupState]
    rollouts: list[Judged]
    products: list[ProductReport]
    decisions: list[Decision]
    rollout_failures: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    """What it did, or would do, about lines that drift."""
    drift_failures: tuple[str, ...] = ()
    software: tuple[Judged, ...] = ()
    """The rollouts of the agent's software."""

    @property
    def failures(self) -> int:
        """How many acts went wrong."""
        apart = len(self.rollout_failures) + len(self.drift_failures)
        return apart + sum(len(product.failures) for product in self.products)

    @property
    def again_at(self) -> datetime | None:
        """When the first of the waits ends whose end is known: a pass before it would find the same."""
        return min((product.again_at for product in self.products if product.again_at is not None), default=None)


class Reconciling:
    """The whole reconciler of one process; `compose` makes it."""

    def __init__(
        self,
        loop: Loop,
        published: PublishedInAPass,
        fleet: ReadingOfAPass,
        champions: NotedChampions,
        steps: SignerClient,
        versions: MlflowRollouts,
        decisions: DecisionLog,
        starter: Starter | None,
        drift: DriftWatch,
        still_acting: Callable[[], None] = lambda: None,
        new_pass: Callable[[], None] = lambda: None,
        disconnect: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._published = published
        self._fleet = fleet
        self._champions = champions
        self._steps = steps
        self._versions = versions
        self._decisions = decisions
        self._starter: Any = starter
        self._drift = drift
        self._still_acting = still_acting
        self._new_pass = new_pass
        self._disconnect = disconnect

    def run(self, *, act: bool = True) -> PassResult:
        """One pass: champions, then the rollouts, then what follows for each product that is served.

        The rollouts of software follow those of releases, whose steps they see.
        """
        from reconciler.rollout_pass import judge_all, judge_all_software, rollout_pass, software_pass
        from reconciler.rules import group_states
        from reconciler.rules import reconcile as move_champions

        self._published.new_pass()
        self._fleet.new_pass()
        self._new_pass()
        now = datetime.now(UTC)
        failures: list[str] = []
        if not act:
            groups = group_states(self._published, self._fleet, now)
            rollouts = judge_all(self._published, self._fleet.reading(), now) if groups else []
            software = judge_all_software(self._published, self._fleet.reading(), now) if groups else []
        else:
            self._champions.finish_moves()
            groups = move_champions(self._published, self._fleet, self._champions, now)
            self._still_acting()
            reading = self._fleet.reading() if groups else None
            rollouts = (
                rollout_pass(self._published, reading, self._steps, self._versions, now) if reading is not None else []
            )
            failures += self._loop.note_rollouts((item.group, item.desired) for item in rollouts)
            if any(item.acted for item in rollouts):
                self._published.new_pass()
            software = software_pass(self._published, reading, self._steps, now) if reading is not None else []
            failures += [
                f"{item.use_case}, group {item.group}: {item.error}" for item in (*rollouts, *software) if item.error
            ]
            if any(item.acted for item in software):
                self._published.new_pass()
        products = self._loop.run(act=act)
        told, drift_failures = self._tell_of_drift(act=act)
        decisions, self._decisions.written = self._decisions.written, []
        return PassResult(
            groups, rollouts, products, decisions, tuple(failures), tuple(told), tuple(drift_failures), tuple(software)
        )

    def _tell_of_drift(self, *, act: bool) -> tuple[list[str], list[str]]:
        """Tell people of lines that drift. What goes wrong costs no other act of the pass."""
        from components.stores.objects.s3 import ObjectStoreError
        from components.stores.releases.signer_client import SignerError
        from inspection.codec import DocumentError

        try:
            notices = self._drift.notices(self._loop.languages())
        except (ObjectStoreError, SignerError, DocumentError) as e:
            return [], [f"drift: {e}"]
        told, failures = self._loop.tell(notices, act=act)
        if act:
            try:
                told += self._drift.note(datetime.now(UTC))
            except ObjectStoreError as e:  # it is noted in the next pass
                failures.append(f"drift: {e}")
        return told, failures

    def took_over(self) -> None:
        """This replica acts from now on: another one may have written decisions and ends of rollouts meanwhile."""
        self._decisions.forget()
        self._versions.forget()

    def wait_for_runs(self) -> None:
        """Wait for the runs that this process started on this machine."""
        if hasattr(self._starter, "wait"):
            self._starter.wait()

    def close(self) -> None:
        """End the runs that this process started on this machine, and close connections."""
        if hasattr(self._starter, "close"):
            self._starter.close()
        self._disconnect()


def products_of(config: Settings) -> Products:
    """The products that are served: the folder of the settings, else that of this machine."""
    from reconciler.products import Products

    return Products(_folder(config))


def has_files(config: Settings) -> bool:
    """Whether the folder of products holds anything. It costs no import."""
    folder = _folder(config)
    return folder.is_dir() and any(folder.iterdir())


def _folder(config: Settings) -> Path:
    return Path(config.use_cases) if config.use_cases else layout().use_cases


def compose(
    config: Settings,
    products: Products,
    still_acting: Callable[[], None] = lambda: None,
    run_ended: Callable[[], None] = lambda: None,
) -> Reconciling:
    """Make the reconciler. This imports the clients of all servers.

    Args:
        still_acting: called before each act; raises where another replica took over.
        run_ended: called from another thread when a run ended that this process started on this machine.

    Raises:
        SettingsError: a setting is missing.
    """
    from components.stores.fleet.device_documents import FleetListing
    from components.stores.fleet.lines import FleetLines
    from components.stores.fleet.noted_drift import NotedDrift
    from components.stores.fleet.reports import FleetReports
    from components.stores.models.registry import ModelRegistry
    from components.stores.objects.claims import Claims
    from components.stores.objects.s3 import ObjectStoreError, S3ObjectStore
    from components.stores.releases.signer_client import SignerClient, SignerError
    from kizu.drift_watch import DriftWatch
    from reconciler.adapters import MlflowChampions, MlflowRollouts, NotedChampions
    from reconciler.decisions import DecisionLog
    from reconciler.label_studio import LabelStudioAnnotations
    from reconciler.mlflow_models import MlflowModels
    from reconciler.notifier import notifier_of
    from reconciler.one_pass import Loop
    from reconciler.published import PublishedInAPass, ReadingOfAPass, SeenDesiredStates
    from reconciler.seeing import Sources
    from reconciler.training_facts import KnownFacts

    store, state = S3ObjectStore.from_settings(config), config.bucket("state")
    registry = ModelRegistry.from_settings(config)
    signer = SignerClient.from_settings(config)
    published = PublishedInAPass(signer)
    decisions = DecisionLog(store, state)
    facts = KnownFacts(config)
    annotations = LabelStudioAnnotations.from_settings(config)
    sources = Sources(
        models=MlflowModels(registry),
        desired=SeenDesiredStates(published, (SignerError, ObjectStoreError)),
        labels=facts,
        annotations=annotations,
    )
    starter = _starter(config, store, state, run_ended)
    loop = Loop(
        products,
        sources,
        Claims(store, state),
        starter,
        decisions,
        notifier_of(config),
        mlflow_url=config.mlflow_public_url or config.mlflow_tracking_uri or "",
        holder=holder(),
        clock=lambda: datetime.now(UTC),
        still_acting=still_acting,
    )
    objects = store.for_many_small()
    listing = FleetListing(objects, config.bucket("fleet"))
    fleet = ReadingOfAPass(FleetReports(objects, config.bucket("fleet"), listing))
    champions = NotedChampions(MlflowChampions(registry), published, decisions, lambda: datetime.now(UTC))
    versions = MlflowRollouts(registry)

    def new_pass() -> None:
        facts.new_pass()
        listing.new_pass()

    disconnect = annotations.close if annotations is not None else lambda: None
    drift = DriftWatch(
        FleetLines(objects, config.bucket("fleet"), listing),
        signer,
        NotedDrift(store, state),
        still_acting=still_acting,
    )
    return Reconciling(
        loop,
        published,
        fleet,
        champions,
        signer,
        versions,
        decisions,
        starter,
        drift,
        still_acting,
        new_pass,
        disconnect,
    )


def holder() -> str:
    """A name that no other process has, and that tells a person which it is."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _starter(config: Settings, store: Any, state: str, run_ended: Callable[[], None]) -> Starter | None:
    """Kubeflow Pipelines where its address is set, else this machine; None on a cluster without the address."""
    if config.kfp_endpoint:
        from kizu.kubeflow_starter import KubeflowStarter

        return KubeflowStarter.from_settings(config)
    if not is_on_this_machine():
        return None
    background_runs: Any = of_this_machine("deploy.local.background_runs")
    starter: Starter = background_runs.BackgroundRuns(layout(), store, state, ended=run_ended)
    return starter

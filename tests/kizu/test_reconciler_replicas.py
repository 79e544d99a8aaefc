"""Two replicas of the reconciler over a real store: one acts, and the other one follows it when it dies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from components.stores.objects.claims import Claims
from kizu.reconciler_service import ReconcilerService
from kizu.reconciling import Reconciling
from reconciler.adapters import NotedChampions
from reconciler.decisions import Decision, DecisionLog
from reconciler.one_pass import Loop
from reconciler.products import Served, product_of
from reconciler.seeing import Sources
from tests.components.model_runs import unique_use_case
from tests.reconciler.pass_world import Killed, World
from tests.reconciler.test_rules import Aliases, Devices, Published

EVERY_S = 20.0


class Replicas:
    """A world whose claims, leases and decisions are in a real store."""

    def __init__(self, installation, store, folder) -> None:
        self.use_case = unique_use_case()
        self.world = World(product_of(self.use_case))
        self.world.all_there_is_to_do()
        self.world.says(waiting=None, run=None)
        self.store, self.state = store, installation.bucket("state")
        self.config = installation.model_copy(update={"use_cases": str(folder)})
        self.services: list[ReconcilerService] = []

    def service(self) -> ReconcilerService:
        """A new process."""
        service = ReconcilerService(
            self.config, EVERY_S, None, composed=self._composed, now=lambda: self.world.now.timestamp()
        )
        service._products = self.world.products
        self.services.append(service)
        return service

    def _composed(self, config, products, still_acting) -> Reconciling:
        world, decisions = self.world, DecisionLog(self.store, self.state)
        servers = world.servers
        loop = Loop(
            products, Sources(servers, servers, servers, servers), Claims(self.store, self.state), world.runs,
            decisions, None, mlflow_url="", holder=f"p{len(self.services)}", clock=lambda: world.now,
            still_acting=still_acting,
        )  # fmt: skip
        published = Published({}, {})
        published.new_pass = lambda: None
        fleet: Any = SimpleNamespace(new_pass=lambda: None, reading=Devices().reading)
        drift: Any = SimpleNamespace(notices=lambda languages: [], note=lambda at: [])
        nothing: Any = SimpleNamespace(forget=lambda: None)
        champions = NotedChampions(Aliases(), published, decisions, lambda: world.now)
        return Reconciling(
            loop, published, fleet, champions, nothing, nothing, decisions, None, drift, still_acting
        )  # fmt: skip

    def decisions(self) -> list[Decision]:
        found = self.store.list(self.state, f"decisions/{self.use_case.name}/")
        return [Decision.from_json(self.store.get(self.state, info.key)) for info in found]


@pytest.fixture
def replicas(installation, store, tmp_path):
    made = Replicas(installation, store, tmp_path)
    yield made
    made.world.wait(minutes=30)
    for service in made.services:
        service._close()
    for info in list(store.list(made.state, "leases/reconciler/")):
        store.delete(made.state, info.key)


@pytest.mark.parametrize("after", [False, True], ids=["before the start", "after the start"])
def test_when_the_acting_replica_dies_the_other_one_follows_and_each_run_is_started_once(replicas, after):
    """The first dies as it starts a run, with the lease and a claim in its hands. The second does nothing until the
    lease has expired; then it starts what is missing, and finds the run that nobody noted."""
    world = replicas.world
    first, second = replicas.service(), replicas.service()
    start = world.runs._start

    def dies(pipeline, arguments, claim):
        if after:
            start(pipeline, arguments, claim)
        raise Killed

    world.runs._start = dies
    with pytest.raises(Killed):
        first._turn()
    world.runs._start = start
    started = list(world.runs.starts)
    assert len(started) == after

    second._turn()
    assert not second._acting
    assert world.runs.starts == started

    world.wait(seconds=2 * EVERY_S + 31)
    second._turn()
    assert second._acting
    world.wait(minutes=11)  # the claim of the dead one may be taken over
    second._turn()
    assert sorted(pipeline for pipeline, _ in world.runs.starts) == ["deployment", "labeling", "training"]
    assert len({claim for _, claim in world.runs.starts}) == 3
    acts = [decision.act for decision in replicas.decisions()]
    assert sorted(acts) == ["start-deployment", "start-labeling", "start-training"]


def test_a_replica_that_was_only_slow_does_not_act_beside_the_one_that_followed_it(replicas):
    """Its lease has expired, and another one holds it: it stops, and acts again when the other one is gone."""
    world = replicas.world
    first, second = replicas.service(), replicas.service()
    world.products.served = Served(())
    first._turn()
    world.wait(seconds=2 * EVERY_S + 31)
    second._turn()
    assert second._acting
    world.products.served = Served((product_of(replicas.use_case),))
    first._turn()
    assert not first._acting
    assert world.runs.starts == []
    second._turn()
    assert len(world.runs.starts) == 3
    second._lease.release()
    world.runs.end()
    world.wait(minutes=1)
    first._turn()
    assert first._acting
    assert len(world.runs.starts) == 3

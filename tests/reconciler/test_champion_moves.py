"""Each move of a champion is written as one decision, wherever the process ends. Fakes at ports, the real decisions."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from components.stores.objects.s3 import ObjectStoreError
from kizu.reconciling import Reconciling
from reconciler.adapters import MlflowRollouts, NotedChampions
from reconciler.decisions import Decision, DecisionLog
from reconciler.rules import reconcile
from tests.reconciler.pass_world import NAME, STATE, Faults, Killed, Lost, MemoryObjects
from tests.reconciler.test_rules import EVERYBODY, NEW, NOW, RELEASE, Aliases, Devices, Published, report


class _World:
    """A group that runs version 7 as a whole, an alias that may fail, and a store that outlives each process."""

    def __init__(self, champion: int | None = 3) -> None:
        self.faults = Faults()
        self.store = MemoryObjects(self.faults)
        self.aliases = Aliases(champion)
        self.published = Published({(NAME, "line"): EVERYBODY}, {NEW: RELEASE})
        self.now = NOW

    def current(self, model):
        return self.faults.around(self.aliases.current, model)

    def move(self, model, version):
        self.faults.around(self.aliases.move, model, version)

    def process(self):
        """A new process; each call of what it returns is a pass."""
        log = DecisionLog(self.store, STATE)
        champions = NotedChampions(self, self.published, log, lambda: self.now)

        def one_pass() -> None:
            champions.finish_moves()
            reconcile(self.published, Devices(report("d1")), champions, NOW)

        return one_pass

    def decisions(self) -> list[Decision]:
        objects = self.store.objects
        return [Decision.from_json(objects[key]) for key in sorted(objects) if key.startswith("decisions/")]

    def announcements(self) -> list[str]:
        return [key for key in self.store.objects if key.startswith("announced/")]


def calls_of_a_pass() -> int:
    world = _World()
    world.process()()
    return world.faults.calls


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("lost", [False, True], ids=["killed", "lost answer"])
def test_a_move_of_the_champion_has_one_decision_wherever_the_pass_ends(after, lost):
    """A pass is ended at each call of a port, or the store's answer is lost; later passes write what is missing."""
    calls = calls_of_a_pass()
    assert calls >= 8
    for at in range(1, calls + 1):
        world = _World()
        world.faults.arm(at, after=after, lost=lost)
        one_pass = world.process()
        try:
            one_pass()
        except Killed:
            one_pass = world.process()
        except (ObjectStoreError, Lost):
            pass
        world.faults.disarm()
        for _ in range(2):
            world.now += timedelta(minutes=1)
            one_pass()
        world.process()()
        assert world.aliases.moves[-1] == (NAME, 7), f"call {at}"
        (decision,) = world.decisions()
        assert (decision.act, decision.subject) == ("move-champion", "version 7, sequence 5"), f"call {at}"
        assert dict(decision.facts) == {"version": 7, "former": 3, "sequence": 5}, f"call {at}"
        assert world.announcements() == [], f"call {at}"


def test_a_champion_that_is_right_is_neither_announced_nor_written():
    """A pass that moves nothing writes nothing."""
    world = _World(champion=7)
    world.process()()
    assert world.store.objects == {}


def test_a_move_that_was_announced_and_not_done_is_written_only_once_it_is_done():
    """The process ended before the alias moved, and the fleet has changed since: no decision tells of a move."""
    world = _World()
    world.move = lambda model, version: (_ for _ in ()).throw(Killed())
    with suppress(Killed):
        world.process()()
    assert len(world.announcements()) == 1
    NotedChampions(world, world.published, DecisionLog(world.store, STATE), lambda: NOW).finish_moves()
    assert world.announcements() == []
    assert world.decisions() == []


def test_an_announcement_that_cannot_be_read_counts_as_none():
    """Damage of a note about the log costs no pass."""
    world = _World(champion=7)
    world.store.objects[f"announced/{NAME}/move-champion.json"] = b"{"
    world.process()()
    assert world.decisions() == []


def test_a_move_is_not_made_while_it_cannot_be_announced():
    """Without the store nobody could tell later why the champion moved, so it waits for the store."""
    world = _World()
    world.store.put = lambda *_, **__: (_ for _ in ()).throw(ObjectStoreError("away"))
    with pytest.raises(ObjectStoreError):
        world.process()()
    assert world.aliases.moves == []


class _Registry:
    """A registry whose versions have tags."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    def version(self, model, version):
        return self


def test_a_replica_that_takes_over_reads_again_how_rollouts_ended():
    """Another replica noted an end since; what this one read before says nothing any more."""
    registry = _Registry()
    rollouts = MlflowRollouts(registry)
    assert rollouts.rollout_of(NAME, 7) == ""
    registry.tags["rollout"] = "done"
    assert rollouts.rollout_of(NAME, 7) == ""  # what was read once is not read again in each pass
    nothing: Any = None
    log = DecisionLog(MemoryObjects(Faults()), STATE)
    Reconciling(nothing, nothing, nothing, nothing, nothing, rollouts, log, None, nothing).took_over()
    assert rollouts.rollout_of(NAME, 7) == "done"

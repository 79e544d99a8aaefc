"""The reconciler's rules: what follows from what should run and what does run."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from components.stores.fleet.reports import UnreadReport
from inspection.decode import Nms
from inspection.documents import Approval, DesiredState, InputSpec, ModelFile, Release, Reported, Sampling, Wave
from inspection.verdict import ClassThreshold
from reconciler.rules import UNKNOWN, group_state, next_champion, reconcile

NOW = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64
RELEASE = Release(
    use_case="metal-tag", version=7, models=(ModelFile(precision="fp32", file="model.onnx", sha256=NEW, bytes=1),),
    preprocess=InputSpec(width=64, height=64), classes=("scratch",), thresholds={"scratch": ClassThreshold(0.5, 0.25)},
    nms=Nms(), sampling=Sampling(uncertain_low=0.1, uncertain_high=0.6), latency_budget_ms=500.0, probation_s=60.0,
    golden=(), min_agent_version="0.1.0", dataset_digest=NEW, training_run="r", evaluation_digest=NEW,
    approval=Approval(by="unauthenticated", at=NOW, model_sha256=NEW),
)  # fmt: skip
EVERYBODY = DesiredState(
    sequence=5, use_case="metal-tag", waves=(Wave(release_digest=NEW, percent=100.0),), probation_s=60.0,
    report_timeout_s=600.0,
)  # fmt: skip


def report(device, running=NEW, *, pending=None, minutes_ago=1.0, group="line", state="running", use_case=None):
    return Reported(
        device=device, group=group, reported_at=NOW - timedelta(minutes=minutes_ago), state=state,
        running_release=running, pending_release=pending, use_case=use_case,
    )  # fmt: skip


class Published:
    """The signer's side, in memory."""

    def __init__(self, desired, releases):
        self._desired, self._releases = desired, releases

    def desired_names(self):
        return sorted(self._desired)

    def desired(self, use_case, group):
        return self._desired.get((use_case, group))

    def release(self, digest):
        return self._releases.get(digest)


class Aliases:
    """The registry's side, in memory, with every move."""

    def __init__(self, version=None):
        self.versions, self.moves = {"metal-tag": version}, []

    def current(self, model):
        return self.versions.get(model)

    def move(self, model, version):
        self.versions[model] = version
        self.moves.append((model, version))


class Devices:
    """The fleet's side, in memory."""

    def __init__(self, *reports, unread=()):
        self.reports, self.unread = reports, unread

    def reading(self):
        return self


def one_pass(reports, *, desired=EVERYBODY, releases=None, champions=None, unread=()):
    wanted = {("metal-tag", "line"): desired} if desired else {}
    published = Published(wanted, {NEW: RELEASE} if releases is None else releases)
    champions = champions or Aliases()
    states = reconcile(published, Devices(*reports, unread=unread), champions, NOW)
    return states[0] if states else None, champions


@pytest.mark.parametrize(
    ("reports", "moved"),
    [
        ([report("d1"), report("d2")], True),
        ([report("d1"), report("d2", OLD)], False),
        ([report("d1"), report("d2", None)], False),
        ([report("d1"), report("d2", OLD, pending=NEW)], False),
        ([report("d1"), report("d2", NEW, pending=OLD)], False),
        ([report("d1"), report("d2", OLD, minutes_ago=60)], False),
        ([report("d1"), report("d2", OLD, group="other")], True),
        ([], False),
        ([report("d1", group="other")], False),
    ],
    ids=["all run it", "one runs the old", "one runs none", "one tries it", "one leaves it",
         "one is offline on the old", "another group's does not count", "no device", "no device of this group"],
)  # fmt: skip
def test_the_champion_moves_when_the_whole_group_runs_the_release_for_good(reports, moved):
    """The champion moves once every device of the group runs the release for good, and not before."""
    state, champions = one_pass(reports)
    assert champions.moves == ([("metal-tag", 7)] if moved else [])
    assert state.rolled_out == (NEW if moved else None)


def test_the_champion_moves_once():
    """A second pass over the same facts does nothing."""
    champions = Aliases()
    one_pass([report("d1")], champions=champions)
    one_pass([report("d1")], champions=champions)
    assert champions.moves == [("metal-tag", 7)]


def test_a_champion_that_is_right_is_left_alone_and_a_wrong_one_is_moved():
    """A wrong champion moves also to an older version, because a rollback is a rollout."""
    assert one_pass([report("d1")], champions=Aliases(7))[1].moves == []
    assert one_pass([report("d1")], champions=Aliases(9))[1].moves == [("metal-tag", 7)]


def test_nothing_desired_is_nothing_to_do():
    """A group without a desired state has no rollout state, and no champion moves."""
    state, champions = one_pass([report("d1")], desired=None)
    assert state is None
    assert champions.moves == []


def test_a_release_that_is_not_published_moves_nothing():
    """The version of an unknown release is unknown."""
    assert one_pass([report("d1")], releases={})[1].moves == []


@pytest.mark.parametrize(
    ("waves", "reports", "moved"),
    [
        ((Wave(release_digest=NEW, devices=("d1",)),), [report("d1"), report("d2", OLD)], False),
        (
            (Wave(release_digest=NEW, devices=("d1",)), Wave(release_digest=OLD, percent=100.0)),
            [report("d1"), report("d2", OLD)],
            False,
        ),
        ((Wave(release_digest=NEW, devices=("d1", "d2")),), [report("d1"), report("d2")], True),
        ((Wave(release_digest=NEW, percent=0.0),), [report("d1")], False),
        ((), [report("d1")], False),
    ],
    ids=["a canary alone", "a canary before the others", "all by name", "nobody yet", "no wave"],
)
def test_a_release_on_some_devices_is_no_champion(waves, reports, moved):
    """A canary that runs well is not a rollout, though every device runs what it should."""
    _, champions = one_pass(reports, desired=dataclasses.replace(EVERYBODY, waves=waves))
    assert bool(champions.moves) is moved


def test_an_offline_device_is_late_and_not_failed():
    """A device is late once its last report is older than the group's timeout; it is not failed."""
    reports = [report("d1", minutes_ago=10), report("d2", minutes_ago=10.1)]
    state = group_state("line", EVERYBODY, reports, NOW)
    assert [(device.device, device.late, device.state) for device in state.devices] == [
        ("d1", False, "running"),
        ("d2", True, "running"),
    ]


def test_devices_are_shown_in_order_beside_what_they_should_run():
    """Devices are shown in the order of their names beside the wave's release, whatever the order of the reports."""
    reports = [report("d2", OLD, pending=NEW, state="probation"), report("d1")]
    state = group_state("line", EVERYBODY, iter(reports), NOW)
    assert (state.group, state.sequence) == ("line", 5)
    assert [(d.device, d.wanted, d.running, d.pending, d.settled) for d in state.devices] == [
        ("d1", NEW, NEW, None, True),
        ("d2", NEW, OLD, NEW, False),
    ]


def wants(digest, use_case="metal-tag"):
    waves = (Wave(release_digest=digest, percent=100.0),)
    return dataclasses.replace(EVERYBODY, use_case=use_case, waves=waves)


def test_two_products_on_devices_of_one_group_each_have_their_champion():
    """Devices are counted for the product that they inspect, so neither product holds the other's champion back."""
    bottles = dataclasses.replace(RELEASE, use_case="bottle", version=3)
    published = Published(
        {("metal-tag", "line"): wants(NEW), ("bottle", "line"): wants(OLD, "bottle")}, {NEW: RELEASE, OLD: bottles}
    )
    reports = [report("d1", use_case="metal-tag"), report("d2", OLD, use_case="bottle")]
    champions = Aliases()
    for _ in range(2):
        states = reconcile(published, Devices(*reports), champions, NOW)
    assert [(s.use_case, s.group, [d.device for d in s.devices]) for s in states] == [
        ("bottle", "line", ["d2"]),
        ("metal-tag", "line", ["d1"]),
    ]
    assert sorted(champions.moves) == [("bottle", 3), ("metal-tag", 7)]


def test_two_groups_of_a_product_on_different_releases_do_not_turn_the_champion_back_and_forth():
    """The newest release that a whole group runs is the champion; further passes move nothing."""
    published = Published(
        {("metal-tag", "osaka"): wants(OLD), ("metal-tag", "tokyo"): wants(NEW)},
        {NEW: RELEASE, OLD: dataclasses.replace(RELEASE, version=6)},
    )
    reports = [report("d1", group="tokyo"), report("d2", OLD, group="osaka")]
    champions = Aliases()
    for _ in range(3):
        reconcile(published, Devices(*reports), champions, NOW)
    assert champions.moves == [("metal-tag", 7)]


@pytest.mark.parametrize(
    ("current", "rolled_out", "all_settled", "moved"),
    [
        (None, [4], True, 4),
        (4, [4, 3], True, None),
        (4, [3], False, None),
        (4, [3], True, 3),
        (4, [3, 5], False, 5),
        (4, [], True, None),
    ],
    ids=[
        "the first",
        "an older group beside it",
        "its group is between two releases",
        "all went back",
        "newer",
        "none",
    ],
)
def test_the_champion_goes_back_only_where_every_group_is_settled(current, rolled_out, all_settled, moved):
    """A group between two releases runs none as a whole; for that time the champion does not go back."""
    assert next_champion(current, rolled_out, all_settled=all_settled) == moved


def test_a_report_that_names_no_product_counts_for_each_product_of_its_group():
    """An older agent does not say what it inspects; its device may hold a champion back, but never brings it early."""
    assert [d.device for d in group_state("line", wants(NEW), [report("d1")], NOW).devices] == ["d1"]
    assert group_state("line", wants(NEW), [report("d1", use_case="bottle")], NOW).devices == ()


@pytest.mark.parametrize(
    ("unread", "held_back"),
    [
        (UnreadReport("d2", "the store was away"), True),
        (UnreadReport("d2", "of a newer form", "line"), True),
        (UnreadReport("d2", "of a newer form", "line", "metal-tag"), True),
        (UnreadReport("d2", "of a newer form", "other"), False),
        (UnreadReport("d2", "of a newer form", "line", "bottle"), False),
    ],
    ids=["a group that is not known", "this group's", "this product's", "another group's", "another product's"],
)
def test_a_device_whose_report_cannot_be_read_is_unknown_and_holds_back_its_group_alone(unread, held_back):
    """What such a device runs is not known: the group names it, with the reason, and no champion moves."""
    state, champions = one_pass([report("d1")], unread=[unread])
    assert bool(champions.moves) is not held_back
    unknown = [device for device in state.devices if device.state == UNKNOWN]
    assert [(d.device, d.wanted, d.running) for d in unknown] == ([("d2", NEW, None)] if held_back else [])
    assert all(unread.reason in device.reason for device in unknown)

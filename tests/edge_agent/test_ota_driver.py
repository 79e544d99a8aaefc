"""What the agent does at each step of an activation, with a source of releases, a trial and clocks of the test."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_agent import __version__
from edge_agent.damaged import DamagedFiles
from edge_agent.disk import RealDisk
from edge_agent.errors import EdgeError, InferenceError, Interrupted, StateError, UpdateError
from edge_agent.health import Health
from edge_agent.inference import RuntimeChoice
from edge_agent.ota.activation import Phase, State
from edge_agent.ota.active import Active, Identity
from edge_agent.ota.driver import Updates
from edge_agent.ota.operator_command import Command
from edge_agent.ota.orders import Orders
from edge_agent.ota.refusal import Kind, Refusal, refuse
from edge_agent.ota.store import ReleaseStore
from edge_agent.ota.tallies import Tallies
from edge_agent.ota.tally_file import TallyFile
from edge_agent.ota.trial import TrialResult
from edge_agent.result import Result
from inspection import DesiredState, Verdict, Wave
from inspection.documents import Probation, Sampling
from tests.edge_agent.models import build_release

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FIRST, SECOND = build_release(1), build_release(2, gain=0.9)
SHORT = SECOND.digest[:12]


def held(sequence: int, reason: str) -> Refusal:
    """What is remembered of a first failure."""
    return refuse(None, reason, sequence=sequence, now=NOW, agent_version=__version__)


class Bench:
    """A device whose source, trial, disk and clock do what the test says."""

    def __init__(self, folder: Path, *, name: str = "dev1", heartbeat_timeout_s: float = 30.0) -> None:
        self.folder = folder
        self.name = name
        self.now_s = 1000.0
        self.now = NOW
        self.desired: DesiredState | None = None
        self.refused: Exception | None = None
        self.fetch_fails: Exception | None = None
        self.result: TrialResult | Exception = TrialResult(True, latency_ms=1.25)
        self.changes = 0
        self.tallies = Tallies()
        self.tried: list = []
        self.heartbeat_timeout_s = heartbeat_timeout_s
        self.start()

    def start(self) -> None:
        self.store = ReleaseStore(self.folder)
        self.health = Health(lambda: self.now_s)
        self.active = Active()
        self.updates = Updates(
            Identity(self.name, "line1", "tags"),
            self.store,
            lambda: self,
            RuntimeChoice(threads=1),
            self.health,
            active=self.active,
            tallies=self.tallies,
            heartbeat_timeout_s=self.heartbeat_timeout_s,
            trial=self.trial,
            changed=self.changed,
            monotonic=lambda: self.now_s,
            utc_now=lambda: self.now,
        )
        self.updates.boot()

    def changed(self) -> None:
        self.changes += 1

    # -- the source of releases
    def refresh(self) -> None:
        if self.refused:
            raise self.refused

    def desired_state(self, use_case: str, group: str) -> DesiredState | None:
        assert group == "line1"
        return self.desired

    def fetch_release(self, digest: str, folder: Path):
        if self.fetch_fails:
            raise self.fetch_fails
        built = {item.digest: item for item in (FIRST, SECOND)}[digest]
        built.write(folder)
        return built.release

    # -- the trial
    def trial(self, folder, digest, choice, stop):
        self.tried.append((folder, digest, choice, stop.is_set()))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    # -- what the tests do
    def offer(self, built, sequence: int, probation_s=60.0, use_case="tags", percent=100.0, again=None) -> None:
        waves = (Wave(release_digest=built.digest, percent=percent),)
        self.desired = DesiredState(
            sequence=sequence, use_case=use_case, waves=waves, probation_s=probation_s, again=again
        )
        self.updates.poll()

    def pass_probation(self) -> None:
        self.now_s += 60.0
        self.health.beat()
        self.updates.tick()

    def settle(self, *built) -> None:
        for sequence, item in enumerate(built, 1):
            self.offer(item, sequence)
            self.pass_probation()

    def running(self) -> str | None:
        loaded = self.active.get()
        return loaded.digest if loaded else None

    def fill_disk(self, monkeypatch) -> None:
        def fails(state: State) -> None:
            raise StateError("cannot write activation.json: no space")

        monkeypatch.setattr(self.store, "save_state", fails)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "state")


def test_a_release_is_fetched_tried_and_put_on_probation(bench):
    """The trial gets the folder, the digest and the choice; the reason says how long the probation is."""
    bench.offer(FIRST, 1)
    assert bench.tried == [
        (bench.folder / "releases" / FIRST.digest, FIRST.digest, RuntimeChoice(threads=1), False)
    ]  # fmt: skip
    state = bench.updates.state
    assert (state.phase, state.pending, state.since, state.probation_s) == (Phase.PROBATION, FIRST.digest, NOW, 60.0)
    assert (bench.running(), bench.updates.reason) == (FIRST.digest, "probation: 60 s")
    assert bench.store.load_state() == state


def test_a_probation_lasts_as_long_as_it_says(bench):
    """The time of a probation counts from its own start, not from the start of the clock."""
    bench.offer(FIRST, 1)
    bench.now_s += 59.9
    bench.health.beat()
    bench.updates.tick()
    assert bench.updates.state.phase is Phase.PROBATION
    bench.now_s += 0.1
    bench.updates.tick()
    assert (bench.updates.state.phase, bench.updates.reason) == (Phase.IDLE, "up-to-date")


def test_a_silent_loop_ends_a_probation_only_after_the_timeout(bench):
    """The reason says for how long the loop was silent."""
    bench.settle(FIRST)
    bench.offer(SECOND, 2)
    bench.now_s += 30.0
    bench.updates.tick()
    assert bench.running() == SECOND.digest
    bench.now_s += 1.0
    bench.updates.tick()
    reason = "missed-heartbeat: the inspection loop was silent for 31 s"
    assert (bench.running(), bench.updates.reason) == (FIRST.digest, reason)
    assert bench.updates.state.failed == {SECOND.digest: held(2, reason)}


def test_a_fault_counts_against_the_release_that_runs_only(bench):
    """A fault of the release before is forgotten when a probation begins; between probations none is collected."""
    bench.settle(FIRST)
    bench.health.fault("before")
    bench.offer(SECOND, 2)
    bench.updates.tick()
    assert bench.running() == SECOND.digest
    bench.health.fault("shape")
    bench.updates.tick()
    assert (bench.running(), bench.updates.reason) == (FIRST.digest, "runtime-error: shape")
    bench.health.fault("later")
    bench.updates.tick()
    assert bench.health.take_fault() == ""


def test_a_fault_is_judged_again_where_the_disk_was_full(bench, monkeypatch):
    """A full disk must not make a bad release a good one."""
    bench.settle(FIRST)
    bench.offer(SECOND, 2)
    bench.health.fault("shape")
    with monkeypatch.context() as patch:
        bench.fill_disk(patch)
        with pytest.raises(StateError, match="no space"):
            bench.updates.tick()
    bench.now_s += 3600.0
    bench.health.beat()
    bench.updates.tick()
    assert (bench.running(), bench.updates.state.failed[SECOND.digest].reason) == (FIRST.digest, "runtime-error: shape")


@pytest.mark.parametrize(
    ("result", "reason", "remembered"),
    [
        (TrialResult(False, "golden-samples", "differs"), "golden-samples: differs", True),
        (UpdateError("damaged", "rot", transient=True), "damaged: rot", False),
        (InferenceError("shape"), "unusable-model: shape", True),
        (EdgeError("no process"), "not-now: no process", False),
        (OSError(12, "no memory"), "not-now: [Errno 12] no memory", False),
        (KeyError("x"), "internal: KeyError: 'x'", True),
    ],
)
def test_a_step_that_fails_says_why_and_is_held_against_the_release_only_where_it_may_be_its_fault(
    bench, caplog, result, reason, remembered
):
    """A machine without memory says nothing about a release."""
    bench.settle(FIRST)
    bench.result = result
    bench.offer(SECOND, 2)
    assert (bench.running(), bench.updates.reason) == (FIRST.digest, reason)
    assert bench.updates.state.failed == ({SECOND.digest: held(2, reason)} if remembered else {})
    assert f"release {SHORT} is not taken: {reason}" in caplog.messages


def test_a_failed_fetch_is_no_fault_of_the_release(bench):
    """A release whose fetch failed is not marked as failed, and is fetched at the next poll."""
    bench.fetch_fails = UpdateError("unreachable", "no answer", transient=True)
    bench.offer(FIRST, 1)
    assert (bench.updates.reason, bench.updates.state.failed) == ("unreachable: no answer", {})
    bench.fetch_fails = None
    bench.updates.poll()
    assert bench.running() == FIRST.digest


def test_a_release_that_cannot_be_loaded_again_is_given_up(bench):
    """A power cut damaged the files of a release on probation while the agent was stopped."""
    bench.settle(FIRST)
    bench.offer(SECOND, 2)
    bench.updates.stop()
    (bench.folder / "releases" / SECOND.digest / "model.onnx").write_bytes(b"rot")
    bench.start()
    reason = f"damaged: model.onnx of release {SHORT} was changed on this disk"
    assert (bench.running(), bench.updates.state.failed) == (FIRST.digest, {SECOND.digest: held(2, reason)})


def test_a_poll_that_is_refused_says_the_word_and_the_message(bench, caplog):
    """An error that nobody foresaw is logged with its trace."""
    bench.refused = UpdateError("expired-metadata", "since Monday")
    bench.updates.poll()
    assert bench.updates.reason == "expired-metadata: since Monday"
    bench.refused = RuntimeError("odd")
    bench.updates.poll()
    assert bench.updates.reason == "internal: RuntimeError: odd"
    assert caplog.messages[-1] == "polling for releases failed"


def test_a_poll_that_takes_nothing_remembers_the_sequence_and_cleans_the_disk(bench):
    """The reason of each is a word, with a message where there is more to say."""
    bench.settle(FIRST)
    stray = bench.folder / "releases" / ("e" * 64)
    stray.mkdir()
    bench.offer(FIRST, 4)
    assert (bench.updates.reason, bench.updates.state.sequence, stray.exists()) == ("up-to-date", 4, False)
    bench.offer(FIRST, 3)
    assert bench.updates.reason == "rolled-back-sequence: sequence 3 is lower than 4, which was seen before"
    bench.offer(SECOND, 5, use_case="discs")
    assert bench.updates.reason.startswith("other-use-case: ")
    bench.offer(SECOND, 6, percent=0.0)
    assert bench.updates.reason == "not-in-a-wave: no wave includes this device yet"
    assert bench.updates.state.sequence == 6


def test_no_poll_takes_a_release_during_a_probation(bench):
    """One activation ends before the next begins."""
    bench.offer(FIRST, 1)
    bench.offer(SECOND, 2)
    assert (bench.running(), bench.updates.state.sequence) == (FIRST.digest, 1)


def test_a_step_whose_state_could_not_be_written_begins_again(bench, monkeypatch):
    """The disk was full after the fetch; the next poll takes the release."""
    write = bench.store.save_state

    def fails_when_trying(state: State) -> None:
        if state.phase is Phase.TRYING:
            raise StateError("cannot write activation.json: no space")
        write(state)

    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "save_state", fails_when_trying)
        with pytest.raises(StateError):
            bench.offer(FIRST, 1)
    assert bench.updates.state.phase is Phase.FETCHING
    bench.updates.poll()
    assert bench.running() == FIRST.digest
    assert bench.updates.state.failed == {}


# -- the operator -----------------------------------------------------------------------------------------------------


def test_an_operator_rolls_back_and_reads_which_release_runs(bench):
    """The change is on the disk, and the report of the device is due."""
    bench.settle(FIRST, SECOND)
    before = bench.changes
    assert bench.updates.obey(Command("rollback")) == f"release {FIRST.digest[:12]} runs"
    assert (bench.running(), bench.updates.reason) == (FIRST.digest, "rolled back by the operator")
    assert bench.changes > before
    assert bench.store.load_state() == bench.updates.state
    assert bench.updates.state.since == NOW


def test_an_operator_pins_and_unpins(bench):
    """The line says whether the release is pinned; without a release it says that none runs."""
    assert bench.updates.obey(Command("unpin")) == "no release runs"
    bench.settle(FIRST, SECOND)
    assert bench.updates.obey(Command("pin")) == f"release {SHORT} runs, pinned"
    assert bench.updates.reason == "pinned by the operator"
    bench.offer(FIRST, 9)
    assert bench.updates.reason == f"pinned: to {SHORT} by the operator"
    assert bench.updates.obey(Command("pin", FIRST.digest)) == f"release {FIRST.digest[:12]} runs, pinned"
    assert bench.updates.obey(Command("unpin")) == f"release {FIRST.digest[:12]} runs"
    assert bench.updates.reason == "unpinned"


def test_an_agent_that_stops_obeys_no_command_and_writes_nothing(bench):
    """The command is given again when the agent has started."""
    bench.settle(FIRST, SECOND)
    bench.updates.stop()
    state = bench.store.load_state()
    with pytest.raises(StateError) as caught:
        bench.updates.obey(Command("rollback"))
    assert str(caught.value) == "the agent is stopping; give the command again when it has started"
    assert bench.store.load_state() == state


def test_a_trial_that_was_slow_because_the_line_was_busy_is_tried_again_by_itself(bench):
    """The next tries wait longer and longer; the report says when the next one is."""
    bench.settle(FIRST)
    bench.result = TrialResult(False, "too-slow", "900.0 ms a frame here")
    bench.offer(SECOND, 2)
    bench.updates.poll()
    said = "too-slow: 900.0 ms a frame here; tried 1 of 10 times, again at 2026-01-02 00:01 UTC"
    assert (bench.running(), bench.updates.reason, len(bench.tried)) == (FIRST.digest, f"failed-before: {said}", 2)
    bench.now += timedelta(minutes=1)
    bench.updates.poll()
    assert bench.updates.state.failed[SECOND.digest].next_at == bench.now + timedelta(minutes=2)
    bench.result = TrialResult(True)
    bench.now += timedelta(minutes=2)
    bench.updates.poll()
    bench.pass_probation()
    assert (bench.running(), bench.updates.state.failed) == (SECOND.digest, {})


def test_a_power_cut_in_a_probation_does_not_refuse_the_release_for_ever(bench):
    """The former release runs at once; a minute later the new one is on probation again."""
    bench.settle(FIRST)
    bench.offer(SECOND, 2)
    bench.start()
    assert bench.running() == FIRST.digest
    bench.updates.poll()
    assert bench.running() == FIRST.digest
    bench.now += timedelta(minutes=1)
    bench.updates.poll()
    assert bench.running() == SECOND.digest


def test_a_release_that_needed_a_newer_agent_is_taken_by_the_newer_agent(bench, monkeypatch):
    """The refusal is of the agent's version, and ends with it."""
    bench.settle(FIRST)
    bench.result = TrialResult(False, "newer-agent-needed", "it needs agent 9.0 or newer")
    bench.offer(SECOND, 2)
    bench.updates.poll()
    assert bench.updates.reason.endswith("it is tried again by another version of the agent")
    bench.result = TrialResult(True)
    refusal = bench.updates.state.failed[SECOND.digest]
    bench.store.save_state(
        replace(bench.updates.state, failed={SECOND.digest: replace(refusal, agent_version="0.0.9")})
    )
    bench.start()
    bench.updates.poll()
    assert bench.running() == SECOND.digest


def test_a_release_that_is_ordered_again_is_tried_again_and_another_sequence_alone_is_no_order(bench):
    """Waves that open raise the sequence too; they must not undo what an operator or a trial decided."""
    bench.settle(FIRST)
    bench.result = TrialResult(False, "golden-samples", "differs")
    bench.offer(SECOND, 2, again=2)
    bench.result = TrialResult(True)
    bench.offer(SECOND, 3, again=2)
    assert bench.updates.reason == (
        "failed-before: golden-samples: differs; to have it tried again, run: kizu deploy --again"
    )
    bench.offer(SECOND, 5, again=4)
    assert bench.running() == SECOND.digest


class Busy:
    """An update thread, and a step that it is in until somebody interrupts it or the test ends it."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.inside, self.steps = bench, threading.Event(), 0
        bench.updates._trial = self.trial
        self.stop = threading.Event()
        self.thread = threading.Thread(target=bench.updates.run, args=(self.stop, 0.0))
        self.thread.start()

    def trial(self, folder, digest, choice, stop):
        self.steps += 1
        self.inside.set()
        assert stop.wait(20.0)
        raise Interrupted("the trial was ended from outside")

    def __enter__(self):
        assert self.inside.wait(20.0)
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.bench.updates.stop()
        self.thread.join(20.0)
        assert not self.thread.is_alive()


def test_a_pin_ends_the_update_that_is_under_way(bench):
    """The trial is ended, and the release that was tried does not replace the pinned one."""
    bench.settle(FIRST)
    bench.desired = DesiredState(
        sequence=2, use_case="tags", waves=(Wave(release_digest=SECOND.digest, percent=100.0),), probation_s=60.0
    )
    with Busy(bench):
        assert bench.updates.obey(Command("pin")) == f"release {FIRST.digest[:12]} runs, pinned"
        state = bench.updates.state
        assert (state.phase, state.pending, state.pinned) == (Phase.IDLE, None, FIRST.digest)
    assert bench.updates.state.failed == {}


def test_a_pin_of_the_former_release_ends_a_probation(bench):
    """The former release inspects again, at once and for good."""
    bench.settle(FIRST)
    bench.offer(SECOND, 2)
    assert bench.updates.obey(Command("pin", FIRST.digest)) == f"release {FIRST.digest[:12]} runs, pinned"
    bench.pass_probation()
    bench.updates.poll()
    assert (bench.running(), bench.updates.state.phase) == (FIRST.digest, Phase.IDLE)


def test_a_command_that_leaves_the_update_alone_lets_its_step_go_on(bench):
    """The trial is interrupted to answer the operator, and then begins again."""
    bench.settle(FIRST)
    bench.desired = DesiredState(
        sequence=2, use_case="tags", waves=(Wave(release_digest=SECOND.digest, percent=100.0),), probation_s=60.0
    )
    with Busy(bench) as busy:
        busy.inside.clear()
        assert bench.updates.obey(Command("unpin")) == f"release {FIRST.digest[:12]} runs"
        assert busy.inside.wait(20.0)
        assert (bench.updates.state.phase, busy.steps) == (Phase.TRYING, 2)


def test_what_is_said_to_an_operator_is_what_inspects_whatever_the_updater_was_doing(bench):
    """A rollback during a trial: one thread does both, so the answer and the running release agree."""
    bench.settle(FIRST, SECOND)
    third = build_release(3, gain=0.8)
    bench.fetch_release = lambda digest, folder: third.write(folder)
    bench.desired = DesiredState(
        sequence=3, use_case="tags", waves=(Wave(release_digest=third.digest, percent=100.0),), probation_s=60.0
    )
    threads = set()
    load = bench.updates._loader.load
    bench.updates._loader.load = lambda digest: threads.add(threading.current_thread()) or load(digest)
    with Busy(bench) as busy:
        said = bench.updates.obey(Command("rollback", SECOND.digest))
        assert (said, bench.running()) == (f"release {FIRST.digest[:12]} runs", FIRST.digest)
        assert threads == {busy.thread}
        with pytest.raises(StateError, match=f"is left already: release {FIRST.digest[:12]} runs now"):
            bench.updates.obey(Command("rollback", SECOND.digest))
    assert bench.running() == FIRST.digest


def test_a_command_during_a_step_that_cannot_be_interrupted_changes_nothing_and_says_so(bench):
    """It is not carried out later, when nobody expects it."""
    orders = Orders(lambda command: command.action, answer_s=0.05)
    orders.own()
    with pytest.raises(StateError, match="nothing was changed"):
        orders.give(Command("unpin"))
    orders.carry_out_waiting()
    assert not orders.interrupt.is_set()

    def fails(command):
        raise KeyError("odd")

    orders = Orders(fails)
    orders.own()
    said = []

    def give():
        try:
            orders.give(Command("unpin"))
        except StateError as e:
            said.append(str(e))

    giver = threading.Thread(target=give)
    giver.start()
    assert orders.interrupt.wait(20.0)
    with pytest.raises(KeyError):
        orders.carry_out_waiting()
    giver.join(20.0)
    assert said == ["the agent failed to carry it out: KeyError: 'odd'"]
    orders.close()
    with pytest.raises(StateError, match="the agent is stopping"):
        orders.give(Command("unpin"))


# -- what a probation asks --------------------------------------------------------------------------------------------

ASKED = Probation(min_frames=30, patience_s=7200.0, max_share_change=0.3, max_latency_ratio=3.0)


def asking(bench, number: int, **changes):
    """A release that asks for frames in its probation; the source has it."""
    built = build_release(number, gain=1 - number / 10, **{"probation": ASKED} | changes)
    bench.fetch_release = lambda digest, folder: built.write(folder)
    return built


def inspect(bench, built, frames: int, verdict: Verdict = Verdict.PASS, infer_ms: float = 20.0) -> None:
    """The inspection loop has inspected so many frames with this release."""
    result = Result(
        capture_id="0" * 32, sha256="1" * 64, captured_at=NOW, decided_at=NOW, device="dev1", camera="top",
        part_id=None, original_name="a.png", release_digest=built.digest, model_sha256="2" * 64, detections=(),
        verdict=verdict, infer_ms=infer_ms,
    )  # fmt: skip
    for _ in range(frames):
        bench.tallies.add(result)


def test_a_release_without_a_frame_stays_on_probation_and_the_report_says_so(bench):
    """The least time alone keeps nothing; the thirtieth frame does."""
    bench.settle(FIRST)
    built = asking(bench, 3)
    bench.offer(built, 3)
    inspect(bench, built, 29)
    bench.pass_probation()
    assert (bench.updates.state.phase, bench.updates.reason) == (Phase.PROBATION, "probation: waits for 30 frames")
    inspect(bench, built, 1)
    bench.updates.tick()
    assert (bench.updates.state.current, bench.updates.reason) == (built.digest, "up-to-date")


def test_a_release_that_is_kept_because_patience_ended_is_never_kept_silently(bench):
    """The report says how many frames came, for as long as that release runs."""
    bench.settle(FIRST)
    built = asking(bench, 3)
    bench.offer(built, 3)
    inspect(bench, built, 2)
    bench.now_s += 7200.0
    bench.health.beat()
    bench.updates.tick()
    said = "up-to-date: kept-without-frames: 2 of 30 frames came; its verdicts were not compared"
    assert (bench.updates.state.current, bench.updates.reason) == (built.digest, said)
    bench.start()
    bench.updates.poll()
    assert bench.updates.reason == said


def test_frames_before_an_orderly_stop_count(bench):
    """A slow line that is switched off each evening reaches the number over several days."""
    bench.settle(FIRST)
    built = asking(bench, 3)
    bench.offer(built, 3)
    inspect(bench, built, 20)
    bench.now_s += 100.0
    bench.updates.stop()
    bench.tallies = Tallies()
    bench.start()
    inspect(bench, built, 10)
    bench.pass_probation()
    assert bench.updates.state.current == built.digest


def test_a_release_that_fails_most_parts_halts_and_is_taken_where_it_is_ordered_again(bench):
    """A person has looked then, so its verdicts are not compared once more."""
    bench.settle(FIRST)
    inspect(bench, FIRST, 300)
    built = asking(bench, 3)
    bench.offer(built, 3, again=3)
    inspect(bench, built, 30, Verdict.FAIL)
    bench.updates.tick()
    reason = bench.updates.state.failed[built.digest].reason
    assert bench.running() == FIRST.digest
    assert reason.startswith("verdict-share: fail 0% before (n=300), 100% now (n=30)")
    bench.now += timedelta(days=9)
    bench.updates.poll()
    assert bench.running() == FIRST.digest
    bench.offer(built, 4, again=4)
    inspect(bench, built, 30, Verdict.FAIL)
    bench.pass_probation()
    assert bench.updates.state.current == built.digest


def test_a_release_is_compared_with_the_one_before_though_the_agent_started_in_between(bench):
    """What the running release decided before the restart is known; what it decided then counts for no probation."""
    bench.settle(FIRST)
    inspect(bench, FIRST, 300)
    TallyFile(bench.folder, RealDisk(), DamagedFiles(bench.folder / "damaged")).save(bench.tallies)
    bench.tallies = Tallies()
    TallyFile(bench.folder, RealDisk(), DamagedFiles(bench.folder / "damaged")).load(bench.tallies)
    bench.start()
    built = asking(bench, 3)
    bench.offer(built, 3, again=3)
    inspect(bench, built, 30, Verdict.FAIL)
    bench.updates.tick()
    assert bench.updates.state.failed[built.digest].reason.startswith("verdict-share: fail 0% before (n=300), 100% now")


def test_a_release_that_is_much_slower_on_the_line_goes_back_and_comes_again(bench):
    """The machine may have been busy, so the cause is transient."""
    bench.settle(FIRST)
    inspect(bench, FIRST, 300, infer_ms=20.0)
    built = asking(bench, 3)
    bench.offer(built, 3)
    inspect(bench, built, 30, infer_ms=90.0)
    bench.updates.tick()
    refusal = bench.updates.state.failed[built.digest]
    assert (bench.running(), refusal.kind, refusal.reason) == (
        FIRST.digest, Kind.TRANSIENT, "slower-than-before: p95 is 90.0 ms a frame, 20.0 ms before"
    )  # fmt: skip


def test_another_order_ends_a_wait_for_frames(bench):
    """The way back, or the next release, is not held up by a release that no frame has judged."""
    bench.settle(FIRST)
    built = asking(bench, 3)
    bench.offer(built, 3)
    bench.pass_probation()
    bench.offer(FIRST, 4)
    assert (bench.running(), bench.updates.state.phase, bench.updates.state.failed) == (FIRST.digest, Phase.IDLE, {})
    bench.updates.poll()
    assert bench.updates.reason == "up-to-date"


def test_the_first_release_of_a_device_that_waits_for_frames_is_kept_when_another_is_ordered(bench):
    """There is none to go back to; the note says how it was kept, and the next release is taken."""
    built = asking(bench, 3)
    bench.offer(built, 1)
    bench.pass_probation()
    second = asking(bench, 4)
    bench.offer(second, 2)
    assert bench.updates.state.current == built.digest
    assert bench.updates.state.note.startswith("kept-without-frames: 0 of 30")
    bench.updates.poll()
    assert bench.running() == second.digest


# -- start and stop ---------------------------------------------------------------------------------------------------


def test_a_stop_that_cannot_be_written_is_logged(bench, monkeypatch, caplog):
    """The next start takes it for a crash, and the log says so."""
    bench.offer(FIRST, 1)
    bench.fill_disk(monkeypatch)
    bench.updates.stop()
    assert caplog.messages[-1] == (
        "the next start will take this stop for a crash: cannot write activation.json: no space"
    )


def test_a_trial_that_runs_learns_that_the_agent_stops(bench):
    """The driver tells a running trial that the agent stops, so that the stop does not wait for the trial."""
    bench.updates.stop()
    bench.updates._closed = False
    bench.offer(FIRST, 1)
    assert bench.tried[0][3] is True


def test_a_start_without_any_release_runs_none(bench):
    """The reason says that nothing was asked yet."""
    assert (bench.running(), bench.updates.reason, bench.updates.state) == (None, "starting", State())
    assert (Active().get(), Active().previous) == (None, None)


def test_where_every_release_is_damaged_none_runs(bench, caplog):
    """Where every release on the disk is damaged, none runs, and each tried release is logged."""
    bench.settle(FIRST, SECOND)
    for built in (FIRST, SECOND):
        (bench.folder / "releases" / built.digest / "model.onnx").write_bytes(b"rot")
    bench.start()
    assert bench.running() is None
    said = f"model.onnx of release {FIRST.digest[:12]} was changed on this disk"
    assert bench.updates.reason == f"damaged: {said}"
    assert caplog.messages[-1] == f"release {FIRST.digest[:12]} cannot run: {said}"


def test_the_previous_release_is_loaded_only_where_the_two_are_compared(tmp_path):
    """The previous release is loaded only where two releases are compared, because a second model takes memory."""
    bench = Bench(tmp_path / "a")
    bench.settle(FIRST, SECOND)
    assert bench.active.previous is None
    sampling = Sampling(uncertain_low=0.3, uncertain_high=0.7, disagreement_rate=0.5)
    third = build_release(3, gain=0.8, sampling=sampling)
    folder = bench.folder / "releases" / third.digest
    bench.fetch_release = lambda digest, _: third.write(folder)
    running = bench.active.get()
    bench.offer(third, 3)
    assert bench.active.previous is running
    bench.pass_probation()
    assert bench.active.previous.digest == SECOND.digest
    loaded = bench.active.previous
    bench.updates._compare()
    assert bench.active.previous is loaded
    bench.start()
    assert bench.active.previous.digest == SECOND.digest


def test_a_previous_release_that_cannot_be_loaded_is_left_out(tmp_path, caplog):
    """The comparison waits; the inspection does not."""
    bench = Bench(tmp_path / "a")
    sampling = Sampling(uncertain_low=0.3, uncertain_high=0.7, disagreement_rate=0.5)
    third = build_release(3, gain=0.8, sampling=sampling)
    bench.settle(FIRST)
    bench.fetch_release = lambda digest, folder: third.write(folder)
    bench.offer(third, 3)
    bench.pass_probation()
    (bench.folder / "releases" / FIRST.digest / "model.onnx").write_bytes(b"rot")
    bench.start()
    assert (bench.running(), bench.active.previous) == (third.digest, None)
    short = FIRST.digest[:12]
    assert caplog.messages[-1] == (
        f"release {short} cannot be loaded for comparison: model.onnx of release {short} was changed on this disk"
    )


class Waits:
    """An event that is set after some waits, each of which moves the clock."""

    def __init__(self, bench: Bench, rounds: int) -> None:
        self.bench, self.rounds = bench, rounds
        self.waited: list[float] = []

    def is_set(self) -> bool:
        return len(self.waited) >= self.rounds

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.bench.now_s += 10.0


def test_the_thread_polls_at_its_pace_and_watches_in_between(bench):
    """The first poll comes at once; the stop is written."""
    polled = []
    bench.refresh = lambda: polled.append(bench.now_s)
    stop = Waits(bench, 6)
    bench.updates.run(stop, 20.0)
    assert polled == [1000.0, 1020.0, 1040.0]
    assert 0 < stop.waited[0] <= 1.0
    with pytest.raises(StateError, match="stopping"):
        bench.updates.obey(Command("unpin"))
    again = Waits(bench, 5)
    bench.updates.run(again, 20.0)
    assert again.waited == []


def test_a_full_disk_makes_the_updates_wait_and_not_end(bench, monkeypatch, caplog):
    """The thread goes on, and tries again."""
    bench.desired = DesiredState(
        sequence=1, use_case="tags", waves=(Wave(release_digest=FIRST.digest, percent=100.0),), probation_s=60.0
    )
    bench.fill_disk(monkeypatch)
    stop = Waits(bench, 2)
    bench.updates.run(stop, 20.0)
    assert len(stop.waited) == 2
    assert bench.updates.reason == "state-folder: cannot write activation.json: no space"
    assert "updates wait" in caplog.messages


def test_the_log_tells_each_phase_and_each_new_reason_once(bench, caplog):
    """The operator follows an activation in the log."""
    caplog.set_level(logging.INFO, "edge_agent.ota.driver")
    short = FIRST.digest[:12]
    bench.settle(FIRST)
    bench.updates.poll()
    assert caplog.messages == [
        f"updates: taking: {FIRST.digest}",
        f"release {short}: idle -> fetching",
        f"release {short}: fetching -> trying",
        f"release {short} reproduces its golden samples, 1.2 ms a frame",
        f"release {short}: trying -> pending",
        f"release {short}: pending -> probation",
        "updates: probation: 60 s",
        f"release {short}: probation -> idle",
        "updates: up-to-date",
    ]


def test_a_stop_event_of_its_own_is_given_to_each_trial(bench):
    """Each trial gets a `threading.Event` that is not set while the agent runs."""
    seen = []
    bench.updates._trial = lambda *arguments: seen.append(arguments[3]) or TrialResult(True)
    bench.offer(FIRST, 1)
    assert isinstance(seen[0], threading.Event)
    assert not seen[0].is_set()

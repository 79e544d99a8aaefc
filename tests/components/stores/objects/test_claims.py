"""At most one of several concurrent callers starts a run: claims on a real S3, and their rule."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from components.stores.objects.claims import (
    MAX_ATTEMPTS,
    TAKE_OVER_AFTER,
    Claim,
    ClaimLost,
    Claims,
    ClaimState,
    Held,
    Refused,
    RunState,
    claim_state,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + TAKE_OVER_AFTER
SECOND = timedelta(seconds=1)


class KnownRuns:
    """The port `Runs` from two tables."""

    def __init__(self, states: dict[str, RunState] | None = None, labels: dict[str, str] | None = None) -> None:
        self.states = states or {}
        self.labels = labels or {}

    def find(self, claim: str) -> str | None:
        return self.labels.get(claim)

    def state(self, run_id: str) -> RunState:
        return self.states.get(run_id, RunState.LOST)


@pytest.fixture
def claims(store, installation) -> Claims:
    return Claims(store, installation.bucket("state"))


@pytest.fixture
def below() -> str:
    """A use case that no other test claims anything of."""
    return f"train/tag-{uuid.uuid4().hex[:10]}/"


@pytest.fixture
def name(below) -> str:
    return f"{below}41"


def take(claims, name, holder="a", now=NOW, runs=None):
    return claims.take(name, holder, runs or KnownRuns(), now)


@pytest.mark.parametrize("left_behind", [False, True], ids=["made", "taken over"])
def test_of_many_threads_at_once_one_has_the_claim_and_may_start(store, installation, name, left_behind):
    """One of eight callers gets the claim, whether there was none or its holder did not come back."""
    claims = Claims(store, installation.bucket("state"))
    if left_behind:
        assert isinstance(take(claims, name, "gone"), Held)
    barrier, found = threading.Barrier(8), []

    def one(number: int) -> None:
        barrier.wait(30)
        taken = take(claims, name, f"holder-{number}", LATER)
        if isinstance(taken, Held):
            taken.renew(LATER + SECOND)
            taken.started(f"run-{number}", LATER + SECOND)
        found.append(taken)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (held,) = (taken for taken in found if isinstance(taken, Held))
    assert sum(isinstance(taken, Refused) for taken in found) == 7
    after = take(claims, name, "late", LATER + SECOND, KnownRuns({held.claim.run_id: RunState.RUNNING}))
    assert after.state is ClaimState.RUNNING
    assert held.claim.run_id in after.why


def test_a_claim_without_a_run_is_taken_over_after_ten_minutes_and_not_before(claims, name):
    """The age of a claim is measured by the clock that the caller gives."""
    take(claims, name, "a")
    early = take(claims, name, "b", LATER - SECOND)
    assert (early.state, early.claim.holder) == (ClaimState.STARTING, "a")
    late = take(claims, name, "b", LATER)
    assert isinstance(late, Held)
    assert late.claim.holder == "b"


def test_who_was_passed_over_starts_nothing(claims, name):
    """A holder that was passed over fails to renew, so it starts nothing; the new holder is not disturbed."""
    slow = take(claims, name, "slow")
    quick = take(claims, name, "quick", LATER)
    for act in (slow.renew, lambda now: slow.started("run-1", now)):
        with pytest.raises(ClaimLost, match="taken over"):
            act(LATER + SECOND)
    quick.renew(LATER + SECOND)
    quick.started("run-2", LATER + SECOND)


def test_who_renews_in_time_is_not_passed_over(claims, name):
    """The ten minutes count from the last renewal."""
    held = take(claims, name)
    held.renew(NOW + TAKE_OVER_AFTER / 2)
    assert take(claims, name, "b", LATER).state is ClaimState.STARTING


@pytest.mark.parametrize(
    ("state", "expected"), [(RunState.RUNNING, ClaimState.RUNNING), (RunState.SUCCEEDED, ClaimState.DONE)]
)
def test_a_run_whose_start_nobody_answered_for_is_found_by_its_label(claims, name, state, expected):
    """The holder started it and died before it wrote the id down: no second one is started."""
    take(claims, name, "died")
    runs = KnownRuns({"run-7": state}, {name: "run-7"})
    found = take(claims, name, "b", LATER, runs)
    assert (found.state, found.claim.run_id) == (expected, "run-7")
    assert take(claims, name, "c", LATER, KnownRuns({"run-7": state})).claim.run_id == "run-7"


def test_a_run_of_the_label_that_did_not_live_is_no_run(claims, name):
    """The claim is taken over as if there were none."""
    take(claims, name, "died")
    runs = KnownRuns({"run-7": RunState.LOST}, {name: "run-7"})
    assert isinstance(take(claims, name, "b", LATER, runs), Held)


def test_a_run_that_failed_is_tried_again_three_times_in_all(claims, name):
    """A failed run is tried again ten minutes after each failure, three times in all; then a person must look."""
    now, held = NOW, take(claims, name)
    for attempt in range(1, MAX_ATTEMPTS):
        held.started(f"run-{attempt}", now)
        held.ended(RunState.FAILED, "no space left", now)
        waiting = take(claims, name, "b", now + SECOND)
        assert waiting.state is ClaimState.WAITING
        assert "no space left" in waiting.why
        now += TAKE_OVER_AFTER
        held = take(claims, name, f"b-{attempt}", now)
        assert isinstance(held, Held)
        assert held.claim.attempt == attempt + 1
    held.started("run-last", now)
    held.ended(RunState.FAILED, "no space left", now)
    last = take(claims, name, "c", now + timedelta(days=30))
    assert last.state is ClaimState.EXHAUSTED
    assert "start it yourself" in last.why


def test_two_versions_of_one_use_case_are_not_trained_at_once(claims, below):
    """A claim of another version is as good as one of the same; of another use case it is not."""
    held = claims.take_only(f"{below}41", below, "a", KnownRuns(), NOW)
    refused = claims.take_only(f"{below}42", below, "b", KnownRuns(), NOW)
    assert refused.state is ClaimState.STARTING
    assert f"{below}41" in refused.why
    assert isinstance(take(claims, f"{below}42", "b"), Held), "the refused one left nothing behind"
    held.started("run-1", NOW)
    held.ended(RunState.SUCCEEDED, "", NOW)
    elsewhere = f"train/tag-{uuid.uuid4().hex[:10]}/"
    assert isinstance(claims.take_only(f"{elsewhere}41", elsewhere, "c", KnownRuns(), NOW), Held)


def test_of_two_versions_claimed_at_the_same_moment_at_most_one_is_held(store, installation, below):
    """Two callers may both withdraw; the next call then gets the claim at once."""
    claims = Claims(store, installation.bucket("state"))
    barrier, found = threading.Barrier(4), []

    def one(version: int) -> None:
        barrier.wait(30)
        found.append(claims.take_only(f"{below}{version}", below, f"holder-{version}", KnownRuns(), NOW))

    threads = [threading.Thread(target=one, args=(version,)) for version in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [taken for taken in found if isinstance(taken, Held)]
    assert len(held) <= 1
    again = claims.take_only(f"{below}9", below, "next", KnownRuns(), NOW)
    assert isinstance(again, Refused if held else Held)


def test_a_claim_that_cannot_be_read_blocks_nobody(store, installation, claims, name):
    """A claim that cannot be read counts as abandoned, and is taken over under the same condition."""
    store.put(installation.bucket("state"), f"claims/{name}", b"{")
    assert isinstance(take(claims, name), Held)


@pytest.mark.parametrize(
    ("claim", "state", "expected"),
    [
        ({}, None, ClaimState.STARTING),
        ({"claimed_at": NOW - TAKE_OVER_AFTER}, None, ClaimState.ABANDONED),
        ({"claimed_at": NOW + timedelta(days=365)}, None, ClaimState.ABANDONED),
        ({"run_id": "r"}, RunState.LOST, ClaimState.STARTING),
        ({"run_id": "r", "claimed_at": NOW - TAKE_OVER_AFTER}, RunState.LOST, ClaimState.RETRY),
        ({"run_id": "r", "claimed_at": NOW - timedelta(days=2)}, RunState.RUNNING, ClaimState.RUNNING),
        ({"run_id": "r", "ended": "failed"}, RunState.RUNNING, ClaimState.WAITING),
        ({"run_id": "r", "ended": "failed", "attempt": MAX_ATTEMPTS}, None, ClaimState.EXHAUSTED),
    ],
)
def test_what_a_claim_says_to_others(claim, state, expected):
    """A claim from a clock a year ahead blocks nobody, and a recorded end of a run is believed."""
    assert claim_state(Claim(**{"holder": "a", "claimed_at": NOW, **claim}), state, NOW) is expected


def test_a_claim_is_written_and_read_as_it_was():
    """A claim keeps keys that this version does not know."""
    data = Claim(holder="a", claimed_at=NOW, run_id="r", attempt=2, ended="failed", reason="x").to_json()
    newer = data[:-1] + b',"later":1}'
    assert Claim.from_json(data).to_json() == data
    assert Claim.from_json(newer).unknown == {"later": 1}

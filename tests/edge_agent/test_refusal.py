"""What is remembered of a refused release, and when it may be tried again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.ota.refusal import LONGEST_WAIT, TRIES, Kind, Refusal, kind_of, may_try, refuse
from edge_agent.ota.store import ReleaseStore

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SLOW = refuse(None, "too-slow: 900 ms", sequence=5, now=NOW, agent_version="1")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("too-slow: 900 ms", Kind.TRANSIENT),
        ("agent-stopped: without warning during probation", Kind.TRANSIENT),
        ("the agent stopped without warning during probation", Kind.TRANSIENT),
        ("trial-too-long: its trial did not end within 600 s", Kind.TRANSIENT),
        ("release-too-slow: 900 ms a frame here", Kind.TRANSIENT),
        ("release-golden-samples: differs", Kind.PERMANENT),
        ("newer-agent-needed: 9.0", Kind.AGENT),
        ("internal: KeyError: 'x'", Kind.AGENT),
        ("golden-samples: differs", Kind.PERMANENT),
        ("rolled back by the operator", Kind.PERMANENT),
        ("a word that nobody knows", Kind.PERMANENT),
    ],
)
def test_each_cause_has_its_kind(reason, kind):
    """What is unknown is permanent: it waits for a person."""
    assert kind_of(reason) is kind


def test_waits_double_and_a_number_of_tries_ends_them():
    """Between two tries of a transient cause lie one minute, two, four, and six hours at most."""
    refusal, now = SLOW, NOW
    for tries in range(1, TRIES):
        assert refusal.attempts == tries
        assert not may_try(refusal, now, "1", asked_since=5)
        assert refusal.next_at - now == min(LONGEST_WAIT, MINUTE * 2 ** (tries - 1))
        now = refusal.next_at
        assert may_try(refusal, now, "1", asked_since=5)
        refusal = refuse(refusal, "too-slow: 800 ms", sequence=5, now=now, agent_version="1")
    assert not may_try(refusal, now + 2 * LONGEST_WAIT, "1", asked_since=5)
    assert may_try(refusal, now, "1", asked_since=6)


def test_another_cause_or_another_agent_counts_its_tries_anew():
    """Nine slow trials do not use up the tries of a release that is damaged once."""
    again = refuse(SLOW, "too-slow: 1 s", sequence=5, now=NOW, agent_version="1")
    assert again.attempts == 2
    assert refuse(again, "too-slow: 1 s", sequence=5, now=NOW, agent_version="2").attempts == 1
    assert refuse(again, "golden-samples: differs", sequence=5, now=NOW, agent_version="1").attempts == 1


@pytest.mark.parametrize("years", [-56, -1])
def test_a_clock_that_was_ahead_does_not_refuse_a_release_for_years(years):
    """The time of the next try lies further away than any wait, so it was written by a wrong clock."""
    assert may_try(SLOW, NOW + timedelta(days=365 * years), "1", asked_since=5)


def test_a_state_file_of_an_earlier_agent_is_read_and_its_transient_refusals_end(tmp_path):
    """Version 1 knows no kinds: they follow from the reasons, and what was held for ever is tried once more."""
    digest = {name: name * 64 for name in "abc"}
    (tmp_path / "activation.json").write_text(
        json.dumps(
            {
                "schema_version": 1, "current": digest["a"], "previous": None, "factory": digest["a"],
                "pending": None, "phase": "idle", "since": None, "sequence": 7, "probation_s": 1.0, "attempts": 0,
                "pinned": None,
                "failed": {
                    digest["b"]: {
                        "sequence": 7, "reason": "the agent stopped without warning during probation"},
                    digest["c"]: {"sequence": 7, "reason": "newer-agent-needed: it needs agent 9.0"},
                },
            }
        )
    )  # fmt: skip
    state = ReleaseStore(tmp_path).load_state()
    assert (state.current, state.sequence, state.stops) == (digest["a"], 7, 0)
    assert state.failed[digest["b"]] == Refusal(7, "the agent stopped without warning during probation", Kind.TRANSIENT)
    assert all(may_try(refusal, NOW, "0.1.0", asked_since=7) for refusal in state.failed.values())

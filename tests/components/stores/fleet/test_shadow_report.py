"""A candidate and the release side by side: what devices report, added up, with its intervals."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from components.stores.fleet.shadow_report import ALL, Share, shadow_report
from inspection.documents import DesiredState, Reported, ShadowOrder, Wave
from inspection.report_parts import LineTally, ShadowTally

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RELEASE, OTHER, CANDIDATE = "a" * 64, "b" * 64, "c" * 64
DESIRED = DesiredState(
    sequence=3, use_case="tags", waves=(Wave(release_digest=RELEASE, percent=100.0),), probation_s=1.0,
    shadow=ShadowOrder(release_digest=CANDIDATE, devices=("press-1", "press-2", "press-3")),
)  # fmt: skip


def reported(device: str, frames: int, *, running: str = RELEASE, **changes) -> Reported:
    """A device whose candidate fails a tenth and whose release fails a fifth; both agree on the rest."""
    tally = ShadowTally(
        release_digest=CANDIDATE, since=NOW, frames=frames, skipped=7, fail=frames // 10, former_fail=frames // 5,
        disagreed=frames // 10, p95_ms=80.0,
    )  # fmt: skip
    return Reported(
        device=device, group="line", reported_at=NOW, state="running", use_case="tags", running_release=running,
        tallies=(LineTally(release_digest=running, since=NOW, frames=9, p95_ms=31.0),),
        shadow=replace(tally, **changes),
    )  # fmt: skip


def test_the_devices_of_an_order_are_added_up():
    """Shares of both on the same frames, with the intervals of all devices together."""
    found = shadow_report(DESIRED, [reported("press-1", 1000), reported("press-2", 500), reported("other", 9000)])
    assert (found.candidate, found.release, found.total.device) == (CANDIDATE, RELEASE, ALL)
    assert (found.total.frames, found.total.skipped) == (1500, 14)
    assert (found.total.fail, found.total.release_fail) == (Share.measured(150, 1500), Share.measured(300, 1500))
    assert found.total.disagreed.said() == "10.0% (8.6 to 11.6%)"
    assert found.total.enough
    first, _, third = found.lines
    assert (first.device, first.p95_ms, first.release_p95_ms, first.says) == ("press-1", 80.0, 31.0, "")
    assert (third.device, third.frames, third.says) == ("press-3", 0, "has not reported")


def test_few_frames_are_said_to_be_few():
    """The interval of 30 frames is wide, whatever the share."""
    found = shadow_report(DESIRED, [reported("press-1", 30)])
    assert not found.total.enough
    nothing = shadow_report(DESIRED, [])
    assert (nothing.total.enough, nothing.total.fail.said(), nothing.release) == (False, "-", None)


def test_a_device_whose_release_is_another_one_is_listed_and_not_added_up():
    """Its numbers compare the candidate with another release."""
    found = shadow_report(
        DESIRED, [reported("press-1", 1000), reported("press-2", 800), reported("press-3", 700, running=OTHER)]
    )
    assert found.total.frames == 1800
    assert found.lines[2].says == f"runs {OTHER[:12]}: not added up"


def test_a_device_says_why_its_candidate_does_not_judge():
    """A refusal, a device that has not looked yet, and one of another product."""
    found = shadow_report(
        DESIRED,
        [
            reported("press-1", 10, reason="golden-samples: a.png"),
            replace(reported("press-2", 10), shadow=None),
            replace(reported("press-3", 10), shadow=None, use_case="bottles"),
        ],
    )
    assert [line.says for line in found.lines] == [
        "golden-samples: a.png", "has not taken the candidate yet", "inspects bottles"
    ]  # fmt: skip


def test_without_an_order_there_is_no_report():
    """Counts of a former candidate are not those of this one."""
    assert shadow_report(replace(DESIRED, shadow=None), [reported("press-1", 10)]) is None
    former = replace(reported("press-1", 1000), shadow=ShadowTally(release_digest=OTHER, since=NOW, frames=9))
    assert shadow_report(DESIRED, [former]).total.frames == 0


def test_the_report_is_one_json_object():
    """For a program that decides by it."""
    value = shadow_report(DESIRED, [reported("press-1", 1000)]).to_json()
    assert (value["candidate"], value["release"], value["all"]["enough"]) == (CANDIDATE, RELEASE, True)
    assert value["devices"][0]["fail"] == {"count": 100, "of": 1000, "low": value["devices"][0]["fail"]["low"],
                                           "high": value["devices"][0]["fail"]["high"]}  # fmt: skip

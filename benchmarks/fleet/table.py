"""The kinds of releases that the campaigns send out, and the table of how they ended."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.fleet.campaign import REPORT_S, Ended, run
from benchmarks.fleet.device import Behaviour
from inspection.rollout import RolloutState

BEGIN, END = "<!-- bench-fleet: begin -->", "<!-- bench-fleet: end -->"
KINDS: Final = {
    "as good as the former one": Behaviour(0.04, 0.02),
    "refused by 1 % of the devices": Behaviour(0.04, 0.02, trial_fails=0.01),
    "refused by all devices": Behaviour(0.04, 0.02, trial_fails=1.0),
    "12 % fail instead of 4 %": Behaviour(0.12, 0.02),
    "finds nothing": Behaviour(0.0, 0.0),
    "12 % uncertain instead of 2 %": Behaviour(0.04, 0.12),
    "takes twice as long": Behaviour(0.04, 0.02, p95_ms=80.0),
}
_GOOD: Final = 2  # the first kinds
MOST_REACHED: Final = 0.01
MOST_TO_STOP_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """All campaigns of one kind."""

    kind: str
    ended: Sequence[Ended]

    def __str__(self) -> str:
        states = {state: sum(item.state is state for item in self.ended) for state in RolloutState}
        said = ", ".join(f"{count} {state}" for state, count in states.items() if count)
        reached = max(item.reached for item in self.ended)
        shares = sorted(item.reached / item.others for item in self.ended)
        stops = sorted(item.to_stop_s for item in self.ended if item.to_stop_s is not None)
        stop = f"{statistics.median(stops):.0f} s, at most {stops[-1]:.0f} s" if stops else "-"
        minutes = statistics.median(item.took_s for item in self.ended) / 60
        return (
            f"| {self.kind} | {len(self.ended)} | {said} | {shares[len(shares) // 2]:.1%}, at most {shares[-1]:.1%} "
            f"({reached}) | {stop} | {minutes:.0f} min |"
        )


def one(job: tuple[str, int, int]) -> tuple[str, int, Ended]:
    """Run one campaign: its kind, seed and number of devices. Returns kind and seed with its end."""
    kind, seed, devices = job
    return kind, seed, run(KINDS[kind], seed, devices=devices)


def render(rows: Sequence[Row], devices: int, took_s: float) -> str:
    """The table, with what was promised and what came."""
    bad = [item for row in rows for item in row.ended if row.kind not in list(KINDS)[:_GOOD]]
    good = [item for row in rows for item in row.ended if row.kind in list(KINDS)[:_GOOD]]
    missed = sum(item.state is not RolloutState.STOPPED for item in bad)
    false = sum(item.state is not RolloutState.DONE for item in good)
    lines = [
        f"{len(bad) + len(good)} campaigns on {devices} simulated devices each, 3 % of them away; two canary devices, "
        "then 1, 10 and 100 %; reports and passes every 60 s. The device's decisions, the signer's steps and the "
        "reconciler's rule are the product's own; time and frames are simulated.",
        "",
        "| The release | campaigns | ended | devices besides the canary that ran it: middle, most | from the first "
        "report that shows it to the stop | whole time |",
        "|---|---|---|---|---|---|",
        *(str(row) for row in rows),
        "",
        f"Of {len(bad)} bad releases {missed} were not stopped by themselves; of {len(good)} good ones {false} did not "
        f"come to the end by themselves. The run took {took_s / 60:.0f} min.",
        *_goal(bad),
    ]
    return "\n".join(lines) + "\n"


def _goal(bad: Sequence[Ended]) -> list[str]:
    """What the campaigns with bad releases were to show, and what they show."""
    if not bad:
        return []
    share = max(item.reached / item.others for item in bad)
    slowest = max((item.to_stop_s for item in bad if item.to_stop_s is not None), default=0.0)
    met = share <= MOST_REACHED and slowest <= REPORT_S + MOST_TO_STOP_S
    return [
        "",
        f"The goal: a bad release runs on the canary and at most {MOST_REACHED:.0%} of the others, and is stopped "
        f"within one report interval and {MOST_TO_STOP_S:.0f} s. What came: at most {share:.1%} of the others, and "
        f"{slowest:.0f} s. The goal is {'met' if met else '**missed**'}.",
    ]

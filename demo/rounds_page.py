"""The page about the demo's rounds: what each brought, how its rollout ended, and what the reconciler decided. Pure.

The page needs no server, no script and no network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import Final

from demo.summary import RoundFacts
from inspection.documents import Reported
from reconciler.decisions import Decision

_STYLE: Final = """
body { font: 15px/1.5 system-ui, "Noto Sans", "Noto Sans JP", sans-serif; margin: 2rem auto; max-width: 72rem;
  padding: 0 1.5rem; color: #1d2430; background: #fff }
h1 { font-size: 1.5rem; margin: 0 0 .25rem } h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem }
p { margin: .25rem 0 .75rem; max-width: 60rem }
table { border-collapse: collapse; width: 100% } caption { text-align: left; color: #5a6577; padding-bottom: .35rem }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid #dfe4ea }
th { font-weight: 600; background: #f5f7f9 } td.number { font-variant-numeric: tabular-nums; white-space: nowrap }
code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere }
.rounds { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem; margin: 1.25rem 0 }
.round { border: 1px solid #dfe4ea; border-top: 4px solid #3f8f54; border-radius: 4px; padding: .8rem 1rem }
.round.failed { border-top-color: #c23b22 } .round h3 { margin: 0 0 .35rem; font-size: 1.05rem }
.mark { font-weight: 600; color: #2c6e3f } .failed .mark { color: #a52f19 }
dl { display: grid; grid-template-columns: 7.5rem 1fr; gap: .2rem .5rem; margin: .5rem 0 0 }
dt { color: #5a6577 } dd { margin: 0; overflow-wrap: anywhere }
""".strip()
_ACTS: Final = {
    "start-labeling": "started labeling",
    "start-training": "started a training",
    "start-deployment": "started a deployment",
    "advance": "opened the next stage",
    "pause": "paused the rollout",
    "stop": "stopped the rollout",
    "move-champion": "moved the champion",
    "notice": "sent a notice",
}
_STEPS: Final = {
    "labels": "people label and verify",
    "training": "training, evaluation, gate",
    "approval": "a person approves",
    "canary": "signed; the canary takes it",
    "rollout": "the line is compared; the rollout ends",
    "return": "images come back",
}


def page_of(
    product: str,
    rounds: Sequence[RoundFacts],
    decisions: Iterable[Decision],
    reports: Iterable[Reported],
    *,
    seconds: float,
    now: datetime,
) -> str:
    """The page as HTML.

    Args:
        product: the use case's name.
        rounds: that are done, in order.
        decisions: of the reconciler about the product, in order.
        reports: the latest of each device.
        seconds: since the demo began.
        now: when the page is made.
    """
    failed = [facts for facts in rounds if facts.rollout == "failed"]
    champion = rounds[-1].champion if rounds else None
    said = (
        f"{len(rounds)} rounds in {_minutes(seconds)}. People labelled, verified and approved; the reconciler started "
        f"every run and moved every rollout. Champion is version {champion}."
    )
    stopped = "".join(
        f"<p><strong>Version {facts.version} was stopped by its canary and taken back:</strong> "
        f"{escape(facts.rollout_reason)}</p>"
        for facts in failed
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Kizu: rounds of {escape(product)}</title><style>{_STYLE}</style></head><body>
<h1>Rounds of {escape(product)}</h1>
<p>{escape(said)}</p>
{stopped}
<div class="rounds">{"".join(_round(facts) for facts in rounds)}</div>
<h2>Time</h2>
{_times(rounds)}
<h2>Devices</h2>
{_devices(reports, rounds)}
<h2>What the reconciler decided</h2>
{_decisions(decisions)}
<p>Made at {now:%Y-%m-%d %H:%M} UTC by the demo of Kizu.</p>
</body></html>
"""


def _round(facts: RoundFacts) -> str:
    bad = facts.rollout == "failed"
    mark = "rollout=failed: stopped and taken back" if bad else "rolled out to all devices"
    rows = [
        ("labels", f"{facts.images} images approved"),
        ("dataset", facts.dataset[:12]),
        ("mAP50", f"{facts.map50:.3f}"),
        ("escape", facts.escape),
        ("overkill", facts.overkill),
        ("approved by", f"{facts.approved_by}: {facts.reason}"),
        ("release", facts.release[:12]),
        ("rollout", facts.rollout_reason or "each stage had what it asked"),
        ("sent back", f"{facts.sent_back} images"),
        ("champion", f"version {facts.champion}" if facts.champion else "none"),
    ]
    if facts.spoilt:
        rows.insert(0, ("spoilt", facts.spoilt))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return (
        f'<section class="round{" failed" if bad else ""}"><h3>Round {facts.number}: version {facts.version}</h3>'
        f'<div class="mark">{mark}</div><dl>{listed}</dl></section>'
    )


def _times(rounds: Sequence[RoundFacts]) -> str:
    head = "".join(f"<th>round {facts.number}</th>" for facts in rounds)
    rows = [
        (text, [f"{facts.took_s[name]:.0f} s" if name in facts.took_s else "" for facts in rounds])
        for name, text in _STEPS.items()
    ]
    rows.append(("together", [_minutes(sum(facts.took_s.values())) for facts in rounds]))
    body = "".join(
        f"<tr><td>{escape(text)}</td>{''.join(f'<td class=number>{value}</td>' for value in values)}</tr>"
        for text, values in rows
    )
    return f"<table><tr><th>step</th>{head}</tr>{body}</table>"


def _devices(reports: Iterable[Reported], rounds: Sequence[RoundFacts]) -> str:
    version = {facts.release: facts.version for facts in rounds}
    rows = "".join(
        f"<tr><td>{escape(report.device)}</td><td>{_running(report, version)}</td><td>{escape(report.state)}</td>"
        f"<td class=number>{report.frames if report.frames is not None else ''}</td>"
        f"<td>{_tallies(report, version)}</td></tr>"
        for report in sorted(reports, key=lambda report: report.device)
    )
    return (
        "<table><tr><th>device</th><th>runs</th><th>state</th><th>frames</th>"
        f"<th>judged by each release</th></tr>{rows}</table>"
    )


def _running(report: Reported, version: dict[str, int]) -> str:
    digest = report.running_release or ""
    known = version.get(digest)
    return f"version {known}" if known else f"<code>{escape(digest[:12])}</code>" if digest else "none"


def _tallies(report: Reported, version: dict[str, int]) -> str:
    found = []
    for tally in report.tallies or ():
        known = version.get(tally.release_digest)
        name = f"version {known}" if known else escape(tally.release_digest[:12])
        found.append(f"{name}: {tally.frames} frames, {tally.fail} fail, {tally.uncertain} uncertain")
    return "<br>".join(found)


def _decisions(decisions: Iterable[Decision]) -> str:
    rows = "".join(
        f"<tr><td class=number>{decision.at:%H:%M:%S}</td><td>{escape(_ACTS.get(decision.act, decision.act))}</td>"
        f"<td>{escape(decision.why)}</td></tr>"
        for decision in decisions
    )
    return f"<table><tr><th>UTC</th><th>it</th><th>why</th></tr>{rows}</table>"


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s"

"""`kizu deploy plan`, `status`, `pause`, `resume`, `revert`, `pin`: look at a rollout, and take it in hand."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from kizu.commands.runs import deploy_app
from kizu.context import DEFAULT_USE_CASE, CommandError, UseCaseOption, console, settings_as, settings_as_operator
from kizu.context import use_case as read_use_case

if TYPE_CHECKING:
    from inspection.documents import DesiredState, Reported
    from inspection.rollout import RolloutPlan
    from reconciler.stages import Judgement

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept and shown.")]
ByOption = Annotated[str, typer.Option("--by", help="Who orders it. Default: the user of this machine.")]


@deploy_app.command()
def plan(use_case: UseCaseOption = DEFAULT_USE_CASE) -> None:
    """Show the waves of the use case, what each asks, and which of the devices that report belong to it."""
    from inspection.documents import Wave

    product = read_use_case(use_case)
    reports = _reports(product.name, product.rollout.group)
    table = Table(title=f"{product.name}, group {product.rollout.group}", box=None)
    for column in ("wave", "executed", "success", "failure stops", "least time", "frames", "next by hand", "devices"):
        table.add_column(column)
    known: set[str] = set()
    for stage in product.rollout.to_stages():
        share = Wave(release_digest="0" * 64, percent=stage.percent)
        own = [
            r.device
            for r in reports
            if r.device not in known and (r.device in stage.devices or share.includes(r.device))
        ]
        known.update(own)
        unseen = [f"{name} (has not reported)" for name in stage.devices if name not in known]
        table.add_row(
            "canary" if not stage.percent else f"{stage.percent:g} %",
            str(stage.min_executed),
            f"{stage.success_share:.0%}",
            f"> {stage.failure_share:.0%}",
            f"{stage.min_s:g} s",
            str(stage.min_frames),
            "yes" if stage.by_hand else "no",
            ", ".join([*own, *unseen]) or "-",
        )
    console.print(table)
    rest = [r.device for r in reports if r.device not in known]
    if rest:
        _say(f"in no wave: {', '.join(rest)}; they keep the former release")


@deploy_app.command()
def status(use_case: UseCaseOption = DEFAULT_USE_CASE) -> None:
    """Show how far the rollout has come, what it waits for, and how the release compares with the former one."""
    desired, judgement, group = _judged(use_case)
    found = desired.rollout
    if found is None:
        _say(f"{desired.use_case}, group {group}, sequence {desired.sequence}: {judgement.why}")
        return
    _say(_head(desired, found, group))
    for index, stage in enumerate(found.stages):
        mark = "open" if index == found.open_stage else ("done" if index < found.open_stage else "waits")
        name = "canary" if not stage.percent else f"{stage.percent:g} %"
        console.print(f"  {name:>8}  {mark}", highlight=False)
    for item in judgement.progress.comparisons:
        _say(f"  {item.respect}: {item.line}: {item.said}")
    for device in judgement.progress.devices:
        _say(f"  {device.device}: {device.outcome}{f': {device.reason}' if device.reason else ''}")
    _say(f"next: {judgement.act}: {judgement.why}")


@deploy_app.command()
def pause(use_case: UseCaseOption = DEFAULT_USE_CASE, reason: ReasonOption = "", by: ByOption = "") -> None:
    """Open no further wave until `kizu deploy resume`."""
    _step(use_case, "pause", reason, by)


@deploy_app.command()
def resume(
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    reason: ReasonOption = "",
    by: ByOption = "",
    open_next: Annotated[
        bool, typer.Option("--open-next", help="Open the next wave at once, whatever the open one still lacks.")
    ] = False,
) -> None:
    """Go on with a paused rollout, answer its question with yes, or end a pin."""
    _step(use_case, "advance" if open_next else "resume", reason, by)


@deploy_app.command()
def revert(use_case: UseCaseOption = DEFAULT_USE_CASE, reason: ReasonOption = "", by: ByOption = "") -> None:
    """Stop the rollout, or take a finished one back: all devices are asked to run the former release."""
    _step(use_case, "stop", reason, by)


@deploy_app.command()
def pin(
    version: Annotated[int, typer.Argument(min=1, help="The approved version.")],
    use_case: UseCaseOption = DEFAULT_USE_CASE,
    reason: ReasonOption = "",
    by: ByOption = "",
) -> None:
    """Order a version to all devices at once, and let no other follow until `kizu deploy resume`."""
    from components.stores.releases.signer_client import SignerClient

    product = read_use_case(use_case)
    signer = SignerClient.from_settings(settings_as_operator())
    signer.publish_release(product.name, version)
    sequence = signer.publish_desired(
        product.name, version, downgrade=True, pin=True, by=by or getpass.getuser(), reason=reason
    )
    _say(f"version {version} of {product.name} is pinned, sequence {sequence}; to end it, run: kizu deploy resume")


@deploy_app.command()
def prune(
    keep: Annotated[int, typer.Option(min=1, help="Of each product, keep the files of so many newest versions.")] = 5,
    yes: Annotated[bool, typer.Option("--yes", help="Delete. Without it, only show what would go.")] = False,
) -> None:
    """Delete the files of old releases that no device runs and none is asked to run. Each `release.json` stays.

    A pruned version that is ordered again is published again from the registry, with the same digest.
    """
    from components.stores.fleet.reports import FleetReports
    from components.stores.releases.signer_client import SignerClient

    config = settings_as_operator()
    reading = FleetReports.from_settings(config).reading()
    if reading.unread:
        names = "; ".join(f"{item.device} ({item.reason})" for item in reading.unread)
        raise CommandError(f"nothing is deleted, because what these devices run is not known: {names}")
    used = {
        digest
        for report in reading.reports
        for digest in (report.running_release, report.pending_release, report.pinned_release)
        if digest
    }
    found = SignerClient.from_settings(config).prune(used, keep, act=yes)
    for item in found:
        size = f"{item['bytes'] / 1e6:.1f} MB"
        _say(f"{item['use_case']} version {item['version']} ({item['digest'][:12]}): {size}")
    total = sum(item["bytes"] for item in found) / 1e6
    done = "deleted" if yes else "would be deleted; to do it, add --yes"
    _say(f"{len(found)} releases, {total:.1f} MB: {done}" if found else "no release can go")


def _step(path: Any, step: str, reason: str, by: str) -> None:
    from components.stores.releases.signer_client import SignerClient

    product = read_use_case(path)
    signer, group = SignerClient.from_settings(settings_as_operator()), product.rollout.group
    desired = signer.desired(product.name, group)
    if desired is None:
        raise CommandError(f"nothing was released for {product.name} in group {group} yet; run: kizu deploy")
    sequence = signer.rollout(
        product.name, group, desired.sequence, step, by=by or getpass.getuser(), reason=reason or "by hand"
    )
    after = signer.desired(product.name, group)
    if after is not None and after.rollout is not None:
        _say(_head(after, after.rollout, group))
    else:
        _say(f"{product.name}, group {group}, sequence {sequence}")


def _head(desired: DesiredState, found: RolloutPlan, group: str) -> str:
    by = f" by {found.by}" if found.by else ""
    reason = f": {found.reason}" if found.reason else ""
    return (
        f"{desired.use_case} version {found.version} ({found.release_digest[:12]}), group {group}, sequence "
        f"{desired.sequence}: {found.state}{by}{reason}"
    )


def _judged(path: Any) -> tuple[DesiredState, Judgement, str]:
    from components.stores.fleet.reports import FleetReports
    from components.stores.releases.signer_client import SignerClient
    from reconciler.rollout import judge_rollout

    product = read_use_case(path)
    config, group = settings_as("reconciler", "signer"), product.rollout.group
    desired = SignerClient.from_settings(config).desired(product.name, group)
    if desired is None:
        raise CommandError(f"nothing was released for {product.name} in group {group} yet; run: kizu deploy")
    reading = FleetReports.from_settings(config).reading()
    return desired, judge_rollout(group, desired, reading.reports, reading.unread, datetime.now(UTC)), group


def _reports(name: str, group: str) -> list[Reported]:
    from components.stores.fleet.reports import FleetReports

    config = settings_as("reconciler")
    found = FleetReports.from_settings(config).reports()
    return [report for report in found if report.counts_for(name, group)]


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
